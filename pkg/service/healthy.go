package service

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/closeloop/closeloop/pkg/settings"
)

// healthyTimeout is how long the service that is asked may take.
const healthyTimeout = 3 * time.Second

// healthy asks the service that runs with the same settings whether it is ready, and gives the exit code that a container's
// health check wants: images hold neither a shell nor curl.
func healthy(d Definition, stderr io.Writer) int {
	// The rest may have become wrong since, such as the file of a secret, and the service goes on with what it has read.
	if err := settings.LoadOnly(d.Settings, "HTTP_ADDR", "HTTP_TLS_CERT_FILE"); err != nil {
		fmt.Fprintln(stderr, err)
		return ExitSettings
	}
	if err := askReady(readyURL(d.Settings.common())); err != nil {
		fmt.Fprintf(stderr, "%s is not ready: %v\n", d.Name, err)
		return ExitFailed
	}
	return 0
}

func readyURL(c *Common) string {
	host, port, err := net.SplitHostPort(c.HTTPAddr)
	if ip := net.ParseIP(host); err != nil || host == "" || ip.IsUnspecified() {
		host = "localhost"
	}
	scheme := "http"
	if c.TLS.CertFile != "" {
		scheme = "https"
	}
	return scheme + "://" + net.JoinHostPort(host, port) + "/readyz"
}

func askReady(url string) error {
	ctx, cancel := context.WithTimeout(context.Background(), healthyTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	// It is asked on this host, under a name that is not in its certificate.
	client := http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}} //nolint:gosec // see above
	answer, err := client.Do(request)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		why, _ := io.ReadAll(io.LimitReader(answer.Body, 4<<10)) // what arrived of it is all there is to say
		return fmt.Errorf("%s: %s", answer.Status, why)
	}
	return nil
}
