package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"flag"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"time"
)

// supervise serves K3s's port 6443: what the supervisor answers goes to a unix
// socket, all else to the API server. A client's certificate is checked here
// and handed on in the way that Kubernetes has for authenticating proxies.
func supervise(arguments []string) error {
	flags := flag.NewFlagSet("supervise", flag.ExitOnError)
	listen := flags.String("listen", "0.0.0.0:6443", "address to serve")
	certificate := flags.String("certificate", "", "serving certificate, followed by its authority; read anew for each connection")
	key := flags.String("key", "", "its key")
	clients := flags.String("client-ca", "", "authority of clients' certificates")
	apiserver := flags.String("apiserver", "127.0.0.1:6444", "address of the API server")
	authority := flags.String("server-ca", "", "authority of the API server's certificate")
	proxyCertificate := flags.String("proxy-certificate", "", "certificate of an authenticating proxy")
	proxyKey := flags.String("proxy-key", "", "its key")
	supervisor := flags.String("supervisor", "", "unix socket of the supervisor")
	flags.Parse(arguments)

	pool, err := loadPool(*clients)
	if err != nil {
		return err
	}
	proxies, err := newAPIProxies(*apiserver, *authority, *proxyCertificate, *proxyKey)
	if err != nil {
		return err
	}
	server := &http.Server{
		Addr:              *listen,
		Handler:           &handler{supervisor: newSupervisorProxy(*supervisor), apiserver: proxies},
		ReadHeaderTimeout: 30 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0), // Each probe of the port would write a line.
		TLSConfig: &tls.Config{
			ClientAuth: tls.VerifyClientCertIfGiven,
			ClientCAs:  pool,
			MinVersion: tls.VersionTLS12,
			GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
				found, err := tls.LoadX509KeyPair(*certificate, *key)
				return &found, err
			},
		},
	}
	return server.ListenAndServeTLS("", "")
}

type handler struct {
	supervisor http.Handler
	apiserver  *apiProxies
}

func (h *handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name := range r.Header {
		if strings.HasPrefix(name, "X-Remote-") {
			r.Header.Del(name)
		}
	}
	name := setClient(r)
	switch path := r.URL.Path; {
	case path == "/cacerts", path == "/ping", strings.HasPrefix(path, "/v1-k3s/"), strings.HasPrefix(path, "/db/"):
		h.supervisor.ServeHTTP(w, r)
	default:
		h.apiserver.pick(name, r).ServeHTTP(w, r)
	}
}

// setClient says who holds the client certificate of the connection, if any.
func setClient(r *http.Request) string {
	if len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	var subject pkix.Name = r.TLS.PeerCertificates[0].Subject
	r.Header.Set("X-Remote-User", subject.CommonName)
	for _, group := range subject.Organization {
		r.Header.Add("X-Remote-Group", group)
	}
	return subject.CommonName
}

func newSupervisorProxy(socket string) http.Handler {
	return &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) { r.SetURL(&url.URL{Scheme: "http", Host: "supervisor"}) },
		Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		}},
		ErrorHandler: refuse,
	}
}

// apiProxies are four: whether the client showed a certificate, for only then
// may ours be shown, and whether the connection is to change its protocol,
// which HTTP/2 cannot.
type apiProxies struct{ known, unknown, knownUpgrade, unknownUpgrade http.Handler }

func (p *apiProxies) pick(client string, r *http.Request) http.Handler {
	isUpgrade := r.Header.Get("Upgrade") != ""
	switch {
	case client != "" && isUpgrade:
		return p.knownUpgrade
	case client != "":
		return p.known
	case isUpgrade:
		return p.unknownUpgrade
	}
	return p.unknown
}

func newAPIProxies(address, authority, certificate, key string) (*apiProxies, error) {
	pool, err := loadPool(authority)
	if err != nil {
		return nil, err
	}
	make := func(showsCertificate, isUpgrade bool) http.Handler {
		configuration := &tls.Config{RootCAs: pool}
		if showsCertificate {
			configuration.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
				found, err := tls.LoadX509KeyPair(certificate, key)
				return &found, err
			}
		}
		return &httputil.ReverseProxy{
			Rewrite: func(r *httputil.ProxyRequest) {
				r.SetURL(&url.URL{Scheme: "https", Host: address})
				r.SetXForwarded()
			},
			Transport: &http.Transport{
				TLSClientConfig:     configuration,
				ForceAttemptHTTP2:   !isUpgrade,
				MaxIdleConnsPerHost: 32,
			},
			FlushInterval: -1,
			ErrorHandler:  refuse,
			ErrorLog:      log.New(io.Discard, "", 0),
		}
	}
	return &apiProxies{make(true, false), make(false, false), make(true, true), make(false, true)}, nil
}

// refuse is the answer while the API server, or the supervisor, does not answer.
func refuse(w http.ResponseWriter, _ *http.Request, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Retry-After", "1")
	w.WriteHeader(http.StatusServiceUnavailable)
	json.NewEncoder(w).Encode(map[string]any{
		"kind": "Status", "apiVersion": "v1", "metadata": map[string]any{}, "status": "Failure",
		"message": "apiserver not ready: " + err.Error(), "reason": "ServiceUnavailable", "code": http.StatusServiceUnavailable,
	})
}

func loadPool(file string) (*x509.CertPool, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool, nil
}
