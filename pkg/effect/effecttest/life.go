// Package effecttest ends the life of a service at any point at which what is outside of it changes, so that a test can go
// through all of them: every message to the broker that changes something (a write to a bucket, a publish, an
// acknowledgement), and every call of a vendor but reads. To die at a read leaves the same world as to die at the change
// before it.
//
// A [Life] stands between a running service and the rest of the world: the service is given the addresses of
// [Life.Broker] and [Life.Vendor] for those of the broker and the vendor. When the life ends, nothing that the service does
// from then on reaches anybody, and nothing reaches the service, as if the process were gone. What it does with that, all
// its clean-up included, is of no consequence.
package effecttest

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync"
)

// End says what becomes of the operation at which a life ends.
type End string

// The ends of a life.
const (
	// Before the operation, which never happens.
	Before End = "before"
	// After the operation, whose answer nobody sees.
	After End = "after"
)

// Life is one run of a service from its start to a death at a chosen point. It is safe for concurrent use.
type Life struct {
	over context.Context
	die  context.CancelFunc

	mu       sync.Mutex
	counted  bool
	at       int
	end      End
	points   []string
	underWay sync.WaitGroup // connections to the broker and calls of vendors
	doors    []func()       // close what the service was given the address of
}

// NewLife makes a life that ends at its at-th point, from 1 on; 0 never.
func NewLife(at int, end End) *Life {
	l := &Life{at: at, end: end}
	l.over, l.die = context.WithCancel(context.Background())
	return l
}

// Begin counts points from now on: what the service does to start is over.
func (l *Life) Begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counted = true
}

// Over is closed when the life has ended.
func (l *Life) Over() <-chan struct{} { return l.over.Done() }

// Ended tells whether the life has ended.
func (l *Life) Ended() bool { return l.over.Err() != nil }

// Kill ends the life now, wherever it is, if it has not ended.
func (l *Life) Kill() { l.mu.Lock(); defer l.mu.Unlock(); l.die() }

// Await waits for the end of the life, and until broker and vendors have done all that it asked of them.
func (l *Life) Await() {
	<-l.over.Done()
	l.underWay.Wait()
}

// Close gives the addresses free that the service was given. Until it has returned they must not become those of something
// else, which would hear from the dead.
func (l *Life) Close() {
	l.Kill()
	l.Await()
	for _, door := range l.doors {
		door()
	}
}

// enter begins something that [Life.Await] waits for, unless the life has ended.
func (l *Life) enter() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over.Err() != nil {
		return false
	}
	l.underWay.Add(1)
	return true
}

// Points names the points so far, in their order; the last one is where the life ended, if it has.
func (l *Life) Points() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]string(nil), l.points...)
}

// point comes before an operation and tells whether it is to be done, and whether its answer may be seen.
func (l *Life) point(name string) (do, answer bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over.Err() != nil {
		return false, false
	}
	if !l.counted {
		return true, true
	}
	l.points = append(l.points, name)
	if len(l.points) != l.at {
		return true, true
	}
	l.die() // under the lock: nothing that comes after this is done
	return l.end == After, false
}

// alive runs f unless the life has ended. While f runs it does not end.
func (l *Life) alive(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.over.Err() == nil {
		f()
	}
}

// Vendor gives the address at which the service finds a vendor, until Close.
func (l *Life) Vendor(vendor http.Handler) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil || !l.enter() {
			panic(http.ErrAbortHandler) // the service was gone before the call had left it
		}
		defer l.underWay.Done()
		do, seen := true, true
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			do, seen = l.point(r.Method + " " + r.URL.Path)
		}
		if !do {
			panic(http.ErrAbortHandler)
		}
		// A vendor goes on with what it has received, whoever is still there to hear of it.
		r = r.WithContext(context.WithoutCancel(r.Context()))
		r.Body = io.NopCloser(bytes.NewReader(body))
		answer := httptest.NewRecorder()
		vendor.ServeHTTP(answer, r)
		if !seen || l.Ended() {
			panic(http.ErrAbortHandler)
		}
		maps.Copy(w.Header(), answer.Header())
		w.WriteHeader(answer.Code)
		_, _ = w.Write(answer.Body.Bytes()) // the service may be gone
	}))
	l.doors = append(l.doors, server.Close)
	return server.URL
}

// Broker gives the address at which the service finds the broker, until Close. It fails when the address given is none.
func (l *Life) Broker(broker string) (string, error) {
	target, err := url.Parse(broker)
	if err != nil {
		return "", err
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	l.doors = append(l.doors, func() { listener.Close() })
	go func() {
		for {
			service, err := listener.Accept()
			if err != nil {
				return // closed
			}
			if !l.enter() {
				service.Close()
				continue
			}
			go func() { defer l.underWay.Done(); l.connect(service, target.Host) }()
		}
	}()
	return "nats://" + listener.Addr().String(), nil
}

// connect carries one connection, and cuts it when the life ends. The broker still reads all that was done before.
func (l *Life) connect(service net.Conn, broker string) {
	defer service.Close()
	upstream, err := (&net.Dialer{}).DialContext(l.over, "tcp", broker)
	if err != nil {
		return // the service will try again
	}
	defer upstream.Close()
	cut := context.AfterFunc(l.over, func() { service.Close() })
	defer cut()
	var down sync.WaitGroup
	down.Go(func() { l.tell(service, upstream) })
	l.carry(upstream, bufio.NewReader(service))
	if half, ok := upstream.(*net.TCPConn); ok {
		_ = half.CloseWrite() // the broker ends it when it has read everything
	}
	down.Wait()
}

// tell gives the service what the broker says, for as long as it lives.
func (l *Life) tell(service, upstream net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := upstream.Read(buffer)
		if n > 0 {
			l.alive(func() { _, _ = service.Write(buffer[:n]) }) // a service that is gone reads no more
		}
		if err != nil {
			service.Close()
			return
		}
	}
}

// carry reads what the service says, message by message, and gives it to the broker. It ends with the connection.
func (l *Life) carry(upstream io.Writer, service *bufio.Reader) {
	for {
		message, err := service.ReadBytes('\n')
		if err != nil {
			return
		}
		do := !l.Ended()
		// PUB subject [reply-to] size, HPUB with the size of the headers before that of all
		if words := strings.Fields(string(message)); len(words) > 2 && (words[0] == "PUB" || words[0] == "HPUB") {
			size, err := strconv.Atoi(words[len(words)-1])
			if err != nil {
				panic(fmt.Sprintf("the broker's protocol: %q", message))
			}
			content := make([]byte, size+len("\r\n"))
			if _, err := io.ReadFull(service, content); err != nil {
				return
			}
			message = append(message, content...)
			if name := change(words[1], content); name != "" {
				do, _ = l.point(name)
			}
		}
		if !do {
			continue
		}
		if _, err := upstream.Write(message); err != nil {
			return
		}
	}
}

// change names what a message to the broker changes; nothing for questions, and for signs of life.
func change(subject string, content []byte) string {
	switch {
	case strings.HasPrefix(subject, "$JS.ACK."):
		word := strings.TrimSpace(string(content))
		if word == "+WPI" {
			return ""
		}
		if word == "" {
			word = "+ACK"
		}
		return "acknowledge " + strings.Fields(word)[0]
	case strings.HasPrefix(subject, "$KV."):
		return "write " + strings.TrimPrefix(subject, "$KV.")
	case strings.HasPrefix(subject, "$JS.API.CONSUMER.PAUSE."):
		return "pause"
	case strings.HasPrefix(subject, "$"), strings.HasPrefix(subject, "_INBOX"):
		return ""
	}
	return "publish " + subject
}
