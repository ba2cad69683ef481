// Web is a workload for the demo and the stories.
//
//	web           serves "Hello from <host name>" at port 8080
//	web URL       serves what the URL answers, and 502 if it does not answer
//	web get URL   prints what the URL answers and ends
package main

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"time"
)

const address = ":8080"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "error:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	if len(args) == 2 && args[0] == "get" {
		text, err := get(args[1])
		fmt.Print(text)
		return err
	}
	answer := func() (string, error) {
		host, err := os.Hostname()
		return "Hello from " + host + "\n", err
	}
	if len(args) == 1 {
		answer = func() (string, error) { return get(args[0]) }
	}
	server := &http.Server{Addr: address, ReadHeaderTimeout: 5 * time.Second, Handler: http.HandlerFunc(
		func(w http.ResponseWriter, _ *http.Request) {
			text, err := answer()
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadGateway)
				return
			}
			fmt.Fprint(w, text)
		})}
	return server.ListenAndServe()
}

// get returns what a URL answers within two seconds.
func get(url string) (string, error) {
	client := &http.Client{Timeout: 2 * time.Second}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s answered %s", url, response.Status)
	}
	return string(text), err
}
