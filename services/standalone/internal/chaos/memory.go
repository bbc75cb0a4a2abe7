package chaos

import (
	"context"
	"io"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync"
	"time"
)

// memory remembers the most memory that each service was seen with.
type memory struct {
	mu     sync.Mutex
	most   map[string]int64
	cancel context.CancelFunc
	done   sync.WaitGroup
}

const (
	memoryEvery = 2 * time.Second
	pageLimit   = 4 << 20
)

// watchMemory looks at the metrics of whoever is behind the addresses of a host, again and again until stop is called.
func watchMemory(ctx context.Context, hostPort string) *memory {
	m := &memory{most: map[string]int64{}}
	ctx, m.cancel = context.WithCancel(ctx)
	host, port, err := net.SplitHostPort(hostPort)
	if err != nil {
		return m // nobody is to be watched
	}
	m.done.Go(func() {
		for ctx.Err() == nil {
			m.look(ctx, host, port)
			select {
			case <-time.After(memoryEvery):
			case <-ctx.Done():
			}
		}
	})
	return m
}

// stop ends it and gives the most of each service in bytes.
func (m *memory) stop() map[string]int64 {
	m.cancel()
	m.done.Wait()
	return m.most
}

// look asks everybody once. Who starts or ends at the moment does not answer, and is asked the next time.
func (m *memory) look(ctx context.Context, host, port string) {
	ctx, cancel := context.WithTimeout(ctx, 2*memoryEvery)
	defer cancel()
	addresses, err := net.DefaultResolver.LookupHost(ctx, host)
	if err != nil {
		return
	}
	var all sync.WaitGroup
	for _, address := range addresses {
		all.Go(func() {
			service, bytes, ok := resident(ctx, "http://"+net.JoinHostPort(address, port)+"/metrics")
			m.mu.Lock()
			defer m.mu.Unlock()
			if ok {
				m.most[service] = max(m.most[service], bytes)
			}
		})
	}
	all.Wait()
}

var (
	serviceLabel = regexp.MustCompile(`[{,]service="([^"]+)"`)
	residentSet  = regexp.MustCompile(`(?m)^process_resident_memory_bytes(?:\{[^}]*\})? (\S+)$`)
)

// resident reads from a metrics page whose it is, and how much memory its process has.
func resident(ctx context.Context, url string) (service string, bytes int64, ok bool) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return "", 0, false
	}
	answer, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", 0, false
	}
	defer answer.Body.Close()
	page, err := io.ReadAll(io.LimitReader(answer.Body, pageLimit))
	if err != nil {
		return "", 0, false
	}
	name, size := serviceLabel.FindSubmatch(page), residentSet.FindSubmatch(page)
	if name == nil || size == nil {
		return "", 0, false
	}
	n, err := strconv.ParseFloat(string(size[1]), 64)
	return string(name[1]), int64(n), err == nil
}
