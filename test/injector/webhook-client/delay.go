package main

import (
	"net"
	"sync"
	"time"
)

// A connection through a slow network: a write succeeds at once, but the other side receives it later, as it does the end of
// the connection. So requests and the ends of their connections can cross.
type delayed struct {
	net.Conn
	delay  time.Duration
	out    chan packet
	in     chan packet
	closed chan struct{}
	once   sync.Once
	// Only the one reader uses it.
	rest []byte
	err  error
}

type packet struct {
	due  time.Time
	data []byte
	err  error
}

func newDelayed(conn net.Conn, delay time.Duration) net.Conn {
	d := &delayed{
		Conn: conn, delay: delay,
		out: make(chan packet, 1024), in: make(chan packet, 1024), closed: make(chan struct{}),
	}
	go d.send()
	go d.receive()
	return d
}

func (d *delayed) send() {
	for {
		select {
		case p := <-d.out:
			time.Sleep(time.Until(p.due))
			// Whoever waits for an answer gets the error from its read.
			d.Conn.Write(p.data)
		case <-d.closed:
			// What was written before is still delivered.
			select {
			case p := <-d.out:
				time.Sleep(time.Until(p.due))
				d.Conn.Write(p.data)
				continue
			default:
			}
			time.Sleep(d.delay)
			d.Conn.Close()
			return
		}
	}
}

func (d *delayed) receive() {
	for {
		buffer := make([]byte, 16384)
		n, err := d.Conn.Read(buffer)
		select {
		case d.in <- packet{time.Now().Add(d.delay), buffer[:n], err}:
		case <-d.closed:
			return
		}
		if err != nil {
			return
		}
	}
}

func (d *delayed) Write(data []byte) (int, error) {
	select {
	case <-d.closed:
		return 0, net.ErrClosed
	case d.out <- packet{due: time.Now().Add(d.delay), data: append([]byte(nil), data...)}:
		return len(data), nil
	}
}

func (d *delayed) Read(data []byte) (int, error) {
	for len(d.rest) == 0 && d.err == nil {
		select {
		case p := <-d.in:
			time.Sleep(time.Until(p.due))
			d.rest, d.err = p.data, p.err
		case <-d.closed:
			return 0, net.ErrClosed
		}
	}
	if len(d.rest) > 0 {
		n := copy(data, d.rest)
		d.rest = d.rest[n:]
		return n, nil
	}
	return 0, d.err
}

func (d *delayed) Close() error {
	d.once.Do(func() { close(d.closed) })
	return nil
}
