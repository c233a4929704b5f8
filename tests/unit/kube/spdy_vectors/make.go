// Makes vectors.json: frames as the moby/spdystream library writes them, the one that kubectl uses.
//
//	go mod init vectors && go get github.com/moby/spdystream@v0.5.0 && go run make.go > vectors.json
package main

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"net/http"
	"os"

	"github.com/moby/spdystream/spdy"
)

type vector struct {
	Name string `json:"name"`
	Hex  string `json:"hex"`
}

func main() {
	var out bytes.Buffer
	framer, err := spdy.NewFramer(&out, &out)
	if err != nil {
		panic(err)
	}
	header := func(kind, id string) http.Header {
		return http.Header{"Streamtype": {kind}, "Port": {"8080"}, "Requestid": {id}}
	}
	fin := spdy.ControlFrameHeader{Flags: spdy.ControlFlagFin}
	one := spdy.ControlFrameHeader{Flags: spdy.ControlFlagUnidirectional}
	frames := []struct {
		name  string
		frame spdy.Frame
	}{
		{"syn_stream error", &spdy.SynStreamFrame{StreamId: 1, Headers: header("error", "0")}},
		{"data fin empty", &spdy.DataFrame{StreamId: 1, Flags: spdy.DataFlagFin}},
		{"syn_stream data", &spdy.SynStreamFrame{StreamId: 3, Headers: header("data", "0"), Priority: 2}},
		{"syn_stream fin", &spdy.SynStreamFrame{StreamId: 5, AssociatedToStreamId: 3, CFHeader: fin, Headers: header("data", "1")}},
		{"syn_stream unidirectional", &spdy.SynStreamFrame{StreamId: 7, CFHeader: one, Headers: http.Header{}}},
		{"syn_reply", &spdy.SynReplyFrame{StreamId: 1, Headers: http.Header{}}},
		{"syn_reply fin", &spdy.SynReplyFrame{StreamId: 3, CFHeader: fin, Headers: http.Header{"Status": {"200"}}}},
		{"headers", &spdy.HeadersFrame{StreamId: 3, Headers: http.Header{"Many": {"one", "two"}}}},
		{"data", &spdy.DataFrame{StreamId: 3, Data: []byte("GET / HTTP/1.1\r\n\r\n")}},
		{"data fin", &spdy.DataFrame{StreamId: 3, Flags: spdy.DataFlagFin, Data: []byte("bye")}},
		{"rst_stream", &spdy.RstStreamFrame{StreamId: 5, Status: spdy.Cancel}},
		{"settings", &spdy.SettingsFrame{FlagIdValues: []spdy.SettingsFlagIdValue{
			{Flag: spdy.FlagSettingsPersistValue, Id: spdy.SettingsMaxConcurrentStreams, Value: 100},
			{Id: spdy.SettingsInitialWindowSize, Value: 65536}}}},
		{"ping", &spdy.PingFrame{Id: 1}},
		{"window_update", &spdy.WindowUpdateFrame{StreamId: 3, DeltaWindowSize: 4096}},
		{"goaway", &spdy.GoAwayFrame{LastGoodStreamId: 7, Status: spdy.GoAwayOK}},
	}
	vectors := []vector{}
	for _, each := range frames {
		out.Reset()
		if err := framer.WriteFrame(each.frame); err != nil {
			panic(err)
		}
		vectors = append(vectors, vector{each.name, hex.EncodeToString(out.Bytes())})
	}
	encoder := json.NewEncoder(os.Stdout)
	encoder.SetIndent("", " ")
	if err := encoder.Encode(vectors); err != nil {
		panic(err)
	}
}
