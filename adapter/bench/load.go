package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"net"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// connections is how many senders post at once.
const connections = 32

// loaded is how a storm of requests went.
type loaded struct {
	perSecond float64
	p99       time.Duration
}

// storm posts n bodies, as fast as the server takes them, over keep-alive connections. The bytes are written as they are:
// an HTTP client of Go would cost as much as what is measured.
func storm(ctx context.Context, addr string, n int, body func(i int) []byte) (loaded, error) {
	var (
		next      atomic.Int64
		mu        sync.Mutex
		latencies = make([]time.Duration, 0, n)
		firstErr  error
		senders   sync.WaitGroup
	)
	began := time.Now()
	for range connections {
		senders.Go(func() {
			mine, err := send(ctx, addr, n, &next, body)
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, mine...)
			if err != nil && firstErr == nil {
				firstErr = err
			}
		})
	}
	senders.Wait()
	took := time.Since(began)
	if firstErr != nil {
		return loaded{}, firstErr
	}
	slices.Sort(latencies)
	return loaded{perSecond: float64(n) / took.Seconds(), p99: latencies[len(latencies)*99/100]}, nil
}

// send is one sender.
func send(ctx context.Context, addr string, n int, next *atomic.Int64, body func(i int) []byte) ([]time.Duration, error) {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	var latencies []time.Duration
	answers := bufio.NewReader(conn)
	var request bytes.Buffer
	for {
		i := int(next.Add(1)) - 1
		if i >= n {
			return latencies, nil
		}
		content := body(i)
		request.Reset()
		request.WriteString("POST /fhir/bench HTTP/1.1\r\nHost: bench\r\nAuthorization: Bearer " + benchToken +
			"\r\nContent-Type: application/fhir+json\r\nContent-Length: " + strconv.Itoa(len(content)) + "\r\n\r\n")
		request.Write(content)
		began := time.Now()
		if _, err := conn.Write(request.Bytes()); err != nil {
			return nil, err
		}
		if err := readAnswer(answers); err != nil {
			return nil, err
		}
		latencies = append(latencies, time.Since(began))
	}
}

// readAnswer reads one answer, which must be 200.
func readAnswer(r *bufio.Reader) error {
	status, err := r.ReadSlice('\n')
	if err != nil {
		return err
	}
	if !bytes.Contains(status, []byte(" 200 ")) {
		return fmt.Errorf("answered %q", status)
	}
	length := 0
	for {
		line, err := r.ReadSlice('\n')
		if err != nil {
			return err
		}
		line = bytes.TrimSpace(line)
		if len(line) == 0 {
			_, err = r.Discard(length)
			return err
		}
		if value, found := bytes.CutPrefix(bytes.ToLower(line), []byte("content-length: ")); found {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return err
			}
		}
	}
}

// median of figures that are not empty.
func median[T int64 | float64 | time.Duration](figures []T) T {
	sorted := slices.Sorted(slices.Values(figures))
	return sorted[len(sorted)/2]
}

// ratio compares round by round: what is measured right after one another is compared, since a machine that others share
// changes its pace. It is the median, with the lowest and the highest.
func ratio(figures, bare []float64) string {
	all := make([]float64, len(figures))
	for i := range figures {
		all[i] = figures[i] / bare[i]
	}
	return fmt.Sprintf("ratio %.2f (%.2f to %.2f)", median(all), slices.Min(all), slices.Max(all))
}
