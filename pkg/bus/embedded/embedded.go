// Package embedded runs a nats-server with JetStream inside the process, for standalone and for tests. There is one
// code path: services connect to it as to any other, only the dialer differs.
package embedded

import (
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

// Options of [Start].
type Options struct {
	// Dir holds JetStream's files. Required: without it the server would use the system's folder for what is temporary.
	Dir string
	// Host and Port to listen on besides the connections within the process. Port -1 takes any free one, default 4222.
	Host string
	Port int
	// Config is a nats-server configuration file that replaces all of the above but Dir. Optional; for tests of rights.
	Config string
	// Cluster makes the server one of several; see [Cluster].
	Cluster *Cluster
	Log     *slog.Logger
	// Trace takes every line that says what a client did; nil for none. For tests of rights.
	Trace func(line string)
}

// Cluster is a server's place among others.
type Cluster struct {
	// Server is its name, unique in the cluster.
	Server string
	// Port on which it meets the others, and the ports of all.
	Port  int
	Peers []int
}

// Server is a running nats-server.
type Server struct{ server *server.Server }

// syncInterval is how much of the newest may be lost with the power, not with the process (one node only).
const syncInterval = 100 * time.Millisecond

// Start starts a server and waits until it takes connections. A taken port is an error that says so.
func Start(o Options) (*Server, error) {
	if o.Dir == "" {
		return nil, errors.New("the embedded NATS server needs a folder for its files")
	}
	options, err := o.options()
	if err != nil {
		return nil, err
	}
	if options.Port > 0 {
		if err := free(options.Host, options.Port); err != nil {
			return nil, err
		}
	}
	s, err := server.NewServer(options)
	if err != nil {
		return nil, fmt.Errorf("embedded NATS server: %w", err)
	}
	if o.Log != nil {
		s.SetLoggerV2(logger{o.Log.With("part", "nats"), o.Trace}, false, o.Trace != nil, false)
	}
	s.Start()
	if !s.ReadyForConnections(10 * time.Second) {
		s.Shutdown()
		return nil, errors.New("the embedded NATS server did not start within 10 seconds; is its folder locked or damaged?")
	}
	return &Server{s}, nil
}

func (o Options) options() (*server.Options, error) {
	options := &server.Options{Host: o.Host, Port: o.Port}
	if o.Config != "" {
		var err error
		if options, err = server.ProcessConfigFile(o.Config); err != nil {
			return nil, err
		}
	}
	if options.Host == "" {
		options.Host = "127.0.0.1"
	}
	if options.Port == 0 {
		options.Port = 4222
	}
	options.JetStream, options.StoreDir, options.SyncInterval = true, o.Dir, syncInterval
	options.NoSigs = true // signals belong to the process that embeds it
	if c := o.Cluster; c != nil {
		options.ServerName = c.Server
		options.Cluster = server.ClusterOpts{Name: "closeloop", Host: options.Host, Port: c.Port}
		for _, port := range c.Peers {
			options.Routes = append(options.Routes, &url.URL{Scheme: "nats", Host: net.JoinHostPort(options.Host, strconv.Itoa(port))})
		}
	}
	return options, nil
}

// free reports who has the port, before the server would end in a less clear message.
func free(host string, port int) error {
	address := net.JoinHostPort(host, strconv.Itoa(port))
	ln, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("NATS cannot listen on %s: is another NATS or closeloop running there? %w", address, err)
	}
	return ln.Close()
}

// URL is where clients outside the process connect.
func (s *Server) URL() string { return s.server.ClientURL() }

// Accepted is how many connections of clients it has taken since its start, whatever became of them.
func (s *Server) Accepted() uint64 {
	v, err := s.server.Varz(nil)
	if err != nil {
		return 0
	}
	return v.TotalConnections
}

// InProcessConn connects within the process; it makes Server a [nats.InProcessConnProvider].
func (s *Server) InProcessConn() (net.Conn, error) { return s.server.InProcessConn() }

// Stop ends the server after its files are written. Clients must have been closed before.
func (s *Server) Stop() {
	s.server.Shutdown()
	s.server.WaitForShutdown()
}

var _ nats.InProcessConnProvider = (*Server)(nil)

// logger gives the server's lines to slog. What it notices at start is of no interest beside our own lines.
type logger struct {
	log   *slog.Logger
	trace func(string)
}

func (l logger) Noticef(format string, v ...any) { l.log.Debug(text(format, v)) }
func (l logger) Warnf(format string, v ...any)   { l.log.Warn(text(format, v)) }
func (l logger) Fatalf(format string, v ...any)  { l.log.Error(text(format, v)) }
func (l logger) Errorf(format string, v ...any)  { l.log.Error(text(format, v)) }
func (l logger) Debugf(format string, v ...any)  {}
func (l logger) Tracef(format string, v ...any)  { l.trace(text(format, v)) }

func text(format string, v []any) string { return strings.TrimSpace(fmt.Sprintf(format, v...)) }
