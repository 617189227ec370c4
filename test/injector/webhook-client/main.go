// webhook-client sends admission reviews repeatedly, over connections that it keeps as an API server does.
//
// Its transport is that of k8s.io/apiserver/pkg/util/webhook: HTTP/1.1 by ALPN, 25 idle connections that are kept for 90
// seconds, and a body that can be sent again where nothing of it was written. Like kube-proxy it chooses one of the
// endpoints for each connection; open ones stay where they are.
//
//	webhook-client CA-FILE BODY-FILE
//
// Each line of its input is a command, and each command is answered with one line of JSON: "endpoints ADDRESS…" sets the
// addresses of new connections, "delay MILLISECONDS" their delay in each direction, "burst NUMBER" sends so many reviews at
// the same time and waits for the answers, "load" sends bursts from then on, "rest" stops that and waits for pending reviews,
// "report" does nothing else. At the end of its input it rests and reports once more.
package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"
)

// A service's address stands for whichever endpoint the connection was made to.
const service = "https://127.0.0.1:443"

// The number of idle connections that an API server keeps (client-go/transport/cache.go).
const idleConnections = 25

type report struct {
	Sent     int            `json:"sent"`
	Dialled  int            `json:"dialled"`
	Failures map[string]int `json:"failures"`
	// Lines that the transport itself logs.
	Logged []string `json:"logged"`
}

type client struct {
	http http.Client
	body []byte

	mutex     sync.Mutex
	endpoints []string
	delay     time.Duration
	report    report
}

func main() {
	if len(os.Args) != 3 {
		// Without its files it has nothing to send; it prints an empty report, by which a test sees that it runs.
		fmt.Println(`{"sent":0}`)
		return
	}
	c, err := newClient(os.Args[1], os.Args[2])
	if err != nil {
		log.Fatal(err)
	}
	log.SetFlags(0)
	log.SetOutput(c)
	stop := make(chan struct{})
	var loads sync.WaitGroup
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		words := strings.Fields(commands.Text())
		if len(words) == 0 {
			continue
		}
		switch words[0] {
		case "endpoints":
			c.mutex.Lock()
			c.endpoints = words[1:]
			c.mutex.Unlock()
		case "delay":
			c.mutex.Lock()
			c.delay = time.Duration(number(words)) * time.Millisecond
			c.mutex.Unlock()
		case "burst":
			c.burst(number(words))
		case "load":
			stop := stop
			loads.Add(1)
			go func() {
				defer loads.Done()
				c.load(stop)
			}()
		case "rest":
			close(stop)
			loads.Wait()
			stop = make(chan struct{})
		}
		c.print()
	}
	close(stop)
	loads.Wait()
	c.print()
}

func number(words []string) int {
	value, err := strconv.Atoi(strings.Join(words[1:], " "))
	if err != nil {
		log.Fatal(err)
	}
	return value
}

func newClient(caFile, bodyFile string) (*client, error) {
	ca, err := os.ReadFile(caFile)
	if err != nil {
		return nil, err
	}
	body, err := os.ReadFile(bodyFile)
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(ca) {
		return nil, errors.New("no certificate in " + caFile)
	}
	c := &client{body: body, report: report{Failures: map[string]int{}, Logged: []string{}}}
	c.http = http.Client{
		// The default timeout of a webhook of ours is five seconds.
		Timeout: 5 * time.Second,
		Transport: &http.Transport{
			DialContext:         c.dial,
			TLSClientConfig:     &tls.Config{RootCAs: roots, NextProtos: []string{"http/1.1"}},
			TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: idleConnections,
			IdleConnTimeout:     90 * time.Second,
		},
	}
	return c, nil
}

func (c *client) dial(ctx context.Context, network, _ string) (net.Conn, error) {
	c.mutex.Lock()
	c.report.Dialled++
	endpoints, delay := c.endpoints, c.delay
	c.mutex.Unlock()
	if len(endpoints) == 0 {
		return nil, errors.New("no endpoints")
	}
	dialer := net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}
	conn, err := dialer.DialContext(ctx, network, endpoints[rand.IntN(len(endpoints))])
	if err != nil || delay == 0 {
		return conn, err
	}
	return newDelayed(conn, delay), nil
}

// Mostly a few reviews at a time, and sometimes as many as there are idle connections: the last ones used are used first,
// so that most of them rest until then.
func (c *client) load(stop <-chan struct{}) {
	for {
		size := 1 + rand.IntN(3)
		if rand.IntN(20) == 0 {
			size = idleConnections
		}
		c.burst(size)
		select {
		case <-stop:
			return
		case <-time.After(time.Duration(rand.IntN(20)) * time.Millisecond):
		}
	}
}

func (c *client) burst(size int) {
	var reviews sync.WaitGroup
	for i := range size {
		reviews.Add(1)
		go func() {
			defer reviews.Done()
			c.review([]string{"/mutate", "/validate"}[i%2])
		}()
	}
	reviews.Wait()
}

func (c *client) review(path string) {
	err := c.send(path)
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.report.Sent++
	if err != nil {
		c.report.Failures[sentence(err)]++
	}
}

func (c *client) send(path string) error {
	answer, err := c.http.Post(service+path, "application/json", bytes.NewReader(c.body))
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		return err
	}
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	var review struct {
		Response struct {
			UID string `json:"uid"`
		} `json:"response"`
	}
	if err := json.Unmarshal(text, &review); err != nil {
		return err
	}
	if review.Response.UID == "" {
		return errors.New("an answer to no review")
	}
	return nil
}

// Without the ports, which differ from one to the next.
func sentence(err error) string {
	words := strings.Fields(err.Error())
	for i, word := range words {
		if strings.Contains(word, "->") {
			words[i] = "CONNECTION:"
		}
	}
	return strings.Join(words, " ")
}

// Write takes the lines that net/http logs.
func (c *client) Write(line []byte) (int, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.report.Logged = append(c.report.Logged, strings.TrimSpace(string(line)))
	return len(line), nil
}

func (c *client) print() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	line, err := json.Marshal(c.report)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(string(line))
}
