package httpdoor_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/closeloop/closeloop/pkg/bus/bustest"
	"github.com/closeloop/closeloop/pkg/certtest"
	"github.com/closeloop/closeloop/pkg/httpdoor"
	"github.com/closeloop/closeloop/pkg/livefile/livefiletest"
	"github.com/closeloop/closeloop/pkg/settings"
)

// files gives what a Secret with a certificate holds: the pair, and the authority of clients.
func files(t *testing.T, pair certtest.Pair, clients *certtest.Authority) map[string]string {
	t.Helper()
	content := map[string]string{}
	for key, path := range map[string]string{"tls.crt": pair.CertFile, "tls.key": pair.KeyFile, "ca.crt": clients.File} {
		raw, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		content[key] = string(raw)
	}
	return content
}

// secure serves a door with probes, a guarded and an open route and something mounted, and gives its address.
func secure(t *testing.T, s httpdoor.Settings) string {
	t.Helper()
	d := probed(t, s)
	d.Handle(http.MethodGet, "/guarded", httpdoor.Guarded, whoami)
	d.Handle(http.MethodGet, "/open", httpdoor.Open, ok)
	d.Mount("/mounted", echoing("mounted"))
	ctx, stop := context.WithCancel(t.Context())
	address, stopped := serve(t, ctx, d)
	t.Cleanup(func() {
		stop()
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	})
	return strings.Replace(address, "http://", "https://", 1)
}

// client trusts the authority, and shows a certificate where it has one.
func client(t *testing.T, trusted *certtest.Authority, own ...certtest.Pair) *http.Client {
	t.Helper()
	raw, err := os.ReadFile(trusted.File)
	if err != nil {
		t.Fatal(err)
	}
	config := &tls.Config{RootCAs: x509.NewCertPool()}
	config.RootCAs.AppendCertsFromPEM(raw)
	for _, pair := range own {
		certificate, err := tls.LoadX509KeyPair(pair.CertFile, pair.KeyFile)
		if err != nil {
			t.Fatal(err)
		}
		// Whatever authorities the door names: so that one of another authority is shown too.
		config.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &certificate, nil }
	}
	transport := &http.Transport{TLSClientConfig: config, ForceAttemptHTTP2: true}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

// status of a route; 0 where the connection fails.
func status(t *testing.T, c *http.Client, url string, header ...string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	answer, err := c.Do(r)
	if err != nil {
		return 0
	}
	defer answer.Body.Close()
	return answer.StatusCode
}

func TestTheDoorsCertificateFollowsItsFiles(t *testing.T) {
	first, second := certtest.New(t), certtest.New(t)
	ends := time.Now().Add(time.Hour)
	mounted := livefiletest.Mount(t, files(t, first.Issue(t, "door", ends), first))
	address := secure(t, httpdoor.Settings{TLS: httpdoor.TLSSettings{CertFile: mounted.Path("tls.crt"), KeyFile: mounted.Path("tls.key")}})

	trusting := client(t, first)
	answer, err := trusting.Get(address + "/open")
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.ProtoMajor != 2 || answer.TLS.Version < tls.VersionTLS12 {
		t.Errorf("HTTP/%d over TLS %x", answer.ProtoMajor, answer.TLS.Version)
	}
	old := client(t, first)
	old.Transport.(*http.Transport).TLSClientConfig.MaxVersion = tls.VersionTLS11
	if got := status(t, old, address+"/open"); got != 0 {
		t.Errorf("TLS 1.1 was answered %d", got)
	}
	if got := status(t, http.DefaultClient, strings.Replace(address, "https://", "http://", 1)+"/open"); got != http.StatusBadRequest {
		t.Errorf("plain HTTP was answered %d", got)
	}

	mounted.Update(files(t, second.Issue(t, "door", ends), first))
	bustest.Eventually(t, "the new certificate", func() bool { return status(t, client(t, second), address+"/open") == 200 })
	mounted.Update(map[string]string{"tls.crt": "nonsense"})
	bustest.Eventually(t, "the certificate in force, whatever became of the files", func() bool {
		return status(t, client(t, second), address+"/open") == 200
	})
}

func TestCertificatesOfClientsOpenTheDoor(t *testing.T) {
	t.Parallel()
	own, callers, strangers := certtest.New(t), certtest.New(t), certtest.New(t)
	ends := time.Now().Add(time.Hour)
	mounted := livefiletest.Mount(t, files(t, own.Issue(t, "door", ends), callers))
	sap, mesh := callers.Issue(t, "sap.example", ends), callers.Issue(t, "event-mesh", ends)
	base := httpdoor.TLSSettings{CertFile: mounted.Path("tls.crt"), KeyFile: mounted.Path("tls.key"), ClientCAFile: mounted.Path("ca.crt")}
	named, required, both := base, base, base
	named.ClientNames = []string{"SAP.example"}
	required.ClientCert, both.ClientCert = "required", "required"
	accepted, byName := secure(t, httpdoor.Settings{TLS: base, APIKeys: settings.SecretsOf("k")}), secure(t, httpdoor.Settings{TLS: named})
	needed, beside := secure(t, httpdoor.Settings{TLS: required}), secure(t, httpdoor.Settings{TLS: both, APIKeys: settings.SecretsOf("k")})

	nobody, bySAP, byMesh := client(t, own), client(t, own, sap), client(t, own, mesh)
	for _, tt := range []struct {
		what   string
		client *http.Client
		url    string
		key    string
		status int
	}{
		{"one of several credentials", bySAP, accepted + "/guarded", "", 200},
		{"a key in place of it", nobody, accepted + "/guarded", "k", 200},
		{"neither", nobody, accepted + "/guarded", "", 401},
		{"open route", nobody, accepted + "/open", "", 200},
		{"somebody else's authority", client(t, own, strangers.Issue(t, "sap.example", ends)), accepted + "/open", "", 0},
		{"expired", client(t, own, callers.Issue(t, "late", time.Now().Add(-time.Hour))), accepted + "/open", "", 0},
		{"by name", bySAP, byName + "/guarded", "", 200},
		{"another name", byMesh, byName + "/guarded", "", 401},
		{"required, there", bySAP, needed + "/guarded", "", 200},
		{"required, open route, there", bySAP, needed + "/open", "", 200},
		{"required, missing", nobody, needed + "/guarded", "", 401},
		{"required, open route, missing", nobody, needed + "/open", "", 401},
		{"required, mounted, missing", nobody, needed + "/mounted/x", "", 401},
		{"required, mounted, there", bySAP, needed + "/mounted/x", "", 200},
		{"required, no such route, missing", nobody, needed + "/nothing", "", 401},
		{"probe", nobody, needed + "/healthz", "", 200},
		{"readiness", nobody, needed + "/readyz", "", 200},
		{"metrics", nobody, needed + "/metrics", "", 200},
		{"required beside a key, key missing", bySAP, beside + "/guarded", "", 401},
		{"required beside a key, certificate missing", nobody, beside + "/guarded", "k", 401},
		{"required beside a key, both", bySAP, beside + "/guarded", "k", 200},
	} {
		if got := status(t, tt.client, tt.url, "X-API-Key", tt.key); got != tt.status {
			t.Errorf("%s: %d, want %d", tt.what, got, tt.status)
		}
	}

	mounted.Update(files(t, own.Issue(t, "door", ends), strangers))
	bustest.Eventually(t, "the new authority of callers", func() bool {
		return status(t, client(t, own, strangers.Issue(t, "sap.example", ends)), accepted+"/guarded") == 200
	})
	if got := status(t, client(t, own, sap), accepted+"/guarded"); got != 0 {
		t.Errorf("one of the old authority was answered %d", got)
	}
}

func TestTheHandlerIsToldTheNameInTheCertificate(t *testing.T) {
	t.Parallel()
	a := certtest.New(t)
	door, caller := a.Issue(t, "door", time.Now().Add(time.Hour)), a.Issue(t, "event-mesh", time.Now().Add(time.Hour))
	address := secure(t, httpdoor.Settings{TLS: httpdoor.TLSSettings{CertFile: door.CertFile, KeyFile: door.KeyFile, ClientCAFile: a.File}})
	answer, err := client(t, a, caller).Get(address + "/guarded")
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body := make([]byte, 64)
	n, _ := answer.Body.Read(body)
	if string(body[:n]) != `"event-mesh"` {
		t.Errorf("%d %s", answer.StatusCode, body[:n])
	}
}

func TestTLSSettingsThatCannotWorkAreNamed(t *testing.T) {
	a := certtest.New(t)
	door, other := a.Issue(t, "door", time.Now().Add(time.Hour)), a.Issue(t, "other", time.Now().Add(time.Hour))
	good := httpdoor.TLSSettings{CertFile: door.CertFile, KeyFile: door.KeyFile, ClientCAFile: a.File}
	for want, change := range map[string]func(*httpdoor.TLSSettings){
		"":                               func(*httpdoor.TLSSettings) {},
		"belong together":                func(s *httpdoor.TLSSettings) { s.KeyFile = "" },
		"needs HTTP_TLS_CERT_FILE":       func(s *httpdoor.TLSSettings) { s.CertFile, s.KeyFile = "", "" },
		"private key does not match":     func(s *httpdoor.TLSSettings) { s.KeyFile = other.KeyFile },
		"HTTP_CLIENT_CERT is":            func(s *httpdoor.TLSSettings) { s.ClientCert = "maybe" },
		"need HTTP_CLIENT_CA_FILE":       func(s *httpdoor.TLSSettings) { s.ClientCAFile, s.ClientCert = "", "required" },
		"HTTP_CLIENT_CA_FILE holds no c": func(s *httpdoor.TLSSettings) { s.ClientCAFile = door.KeyFile },
		"no such file":                   func(s *httpdoor.TLSSettings) { s.CertFile += "x" },
	} {
		s := good
		change(&s)
		if err := (httpdoor.Settings{TLS: s}).Validate(); (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v", want, err)
		}
	}
}
