package lab

import (
	"io"
	"net"
	"sync"
)

// Gate is an address that leads to another one as long as it is open. While it is shut connections to it are refused, as
// by a machine on which nobody listens. It is safe for concurrent use.
type Gate struct {
	// Address is where it listens, the same after each opening.
	Address string

	to       string
	mu       sync.Mutex
	listener net.Listener
	through  map[net.Conn]bool
}

// OpenGate opens a gate to an address.
func OpenGate(to string) (*Gate, error) {
	address, err := FreeAddress()
	if err != nil {
		return nil, err
	}
	g := &Gate{Address: address, to: to, through: map[net.Conn]bool{}}
	return g, g.Open()
}

// Open lets connections through again.
func (g *Gate) Open() error {
	l, err := net.Listen("tcp", g.Address)
	if err != nil {
		return err
	}
	g.mu.Lock()
	g.listener = l
	g.mu.Unlock()
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return // it is shut
			}
			go g.pass(l, conn)
		}
	}()
	return nil
}

// Shut refuses new connections and cuts those that there are. Of a gate that is shut it changes nothing.
func (g *Gate) Shut() error {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener == nil {
		return nil
	}
	err := g.listener.Close() // first: whose connection is cut may connect again at once
	g.listener = nil
	for conn := range g.through {
		_ = conn.Close() // it may have ended by itself
	}
	return err
}

func (g *Gate) pass(by net.Listener, from net.Conn) {
	to, err := net.Dial("tcp", g.to) //nolint:noctx // ended by Shut
	if err != nil {
		_ = from.Close() // nobody is there
		return
	}
	defer g.drop(from, to)
	if !g.keep(by, from, to) {
		return
	}
	done := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{from, to}, {to, from}} {
		go func() { _, _ = io.Copy(way[1], way[0]); done <- struct{}{} }() // either end may hang up
	}
	<-done
}

// keep notes connections, unless the gate was shut since they came.
func (g *Gate) keep(by net.Listener, conns ...net.Conn) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.listener != by {
		return false
	}
	for _, c := range conns {
		g.through[c] = true
	}
	return true
}

func (g *Gate) drop(conns ...net.Conn) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range conns {
		_ = c.Close() // the other end may have done it
		delete(g.through, c)
	}
}
