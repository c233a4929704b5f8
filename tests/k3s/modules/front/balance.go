package main

import (
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"os"
	"time"
)

const dialLimit = 2 * time.Second

// balance passes TCP connections on to the first server that answers. The file
// of servers, which K3s's agent keeps too, is read anew for each connection.
func balance(arguments []string) error {
	flags := flag.NewFlagSet("balance", flag.ExitOnError)
	listen := flags.String("listen", "127.0.0.1:6444", "where clients connect")
	servers := flags.String("servers", "", "file that holds the servers' addresses")
	flags.Parse(arguments)
	listener, err := net.Listen("tcp", *listen)
	if err != nil {
		return err
	}
	for {
		client, err := listener.Accept()
		if err != nil {
			return err
		}
		go pass(client.(*net.TCPConn), *servers)
	}
}

func pass(client *net.TCPConn, file string) {
	defer client.Close()
	text, err := os.ReadFile(file)
	if err != nil {
		log.Print(err)
		return
	}
	var state struct{ ServerAddresses []string }
	if err := json.Unmarshal(text, &state); err != nil {
		log.Print(err)
		return
	}
	for _, address := range state.ServerAddresses {
		found, err := net.DialTimeout("tcp", address, dialLimit)
		if err != nil {
			log.Printf("server %s: %v", address, err)
			continue
		}
		server := found.(*net.TCPConn)
		defer server.Close()
		go func() {
			io.Copy(server, client)
			server.CloseWrite()
		}()
		io.Copy(client, server)
		return
	}
}
