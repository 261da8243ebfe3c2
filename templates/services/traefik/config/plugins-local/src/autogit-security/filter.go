// Package autogit_security has the texts that come in judged by the service prompt-filter before a service sees them.
//
// Traefik interprets it (Yaegi): whatever handles many bytes is one call of the standard library, never a loop here.
package autogit_security

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

const (
	headerPrefix = "X-Autogit-"
	riskHeader   = "X-Autogit-Risk"
	idHeader     = "X-Request-Id"
	monitor      = "monitor"
	attempts     = 3
	longestID    = 128
	// Nobody may write so much into a header that the question is refused: it would be left without a verdict.
	longestHeader = 2048
	// As much as http.DetectContentType looks at.
	sniffedBytes = 512
)

// Config is what the middleware's part of middlewares.yml says.
type Config struct {
	// Address is the verdict service's host:port.
	Address string `json:"address,omitempty"`
	// Services has the service's name by host name.
	Services map[string]string `json:"services,omitempty"`
	// Modes has monitor, quarantine or block by service; Mode is that of all others.
	Modes map[string]string `json:"modes,omitempty"`
	Mode  string            `json:"mode,omitempty"`
	// FailOpen lets texts pass that could not be judged.
	FailOpen     bool  `json:"failOpen,omitempty"`
	MaxBodyBytes int64 `json:"maxBodyBytes,omitempty"`
	TimeoutMs    int64 `json:"timeoutMs,omitempty"`
}

// CreateConfig returns what holds where middlewares.yml says nothing.
func CreateConfig() *Config {
	return &Config{Mode: monitor, MaxBodyBytes: 1048576, TimeoutMs: 2000}
}

// Filter is the middleware.
type Filter struct {
	next   http.Handler
	config *Config
	url    string
}

// One client for all: connections stay when routes change. MaxConnsPerHost is what is asked at once; more wait.
var client = &http.Client{Transport: &http.Transport{
	MaxConnsPerHost:     64,
	MaxIdleConnsPerHost: 64,
	IdleConnTimeout:     30 * time.Second,
	DisableCompression:  true,
}}

// What could not be judged since the verdict service last heard of it, and the second of the last log line.
var passedUnjudged, refusedUnjudged, lastLogged int64

// New returns the middleware. Traefik does not start with a configuration that is wrong.
func New(_ context.Context, next http.Handler, config *Config, _ string) (http.Handler, error) {
	if config.Address == "" || config.MaxBodyBytes <= 0 || config.TimeoutMs <= 0 {
		return nil, errors.New("autogit-security needs address, maxBodyBytes and timeoutMs")
	}
	return &Filter{next: next, config: config, url: "http://" + config.Address + "/v1/verdict"}, nil
}

// ServeHTTP passes a request on, or answers it, or has its text judged first.
func (f *Filter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	for name := range r.Header {
		if strings.HasPrefix(name, headerPrefix) {
			r.Header.Del(name) // what only the ingress may say
		}
	}
	id := requestID(r.Header.Get(idHeader))
	r.Header.Set(idHeader, id)
	types := r.Header.Values("Content-Type")
	if r.ContentLength == 0 || r.Body == nil || r.Body == http.NoBody || !isText(types) && !beginsAsText(r, types) {
		f.next.ServeHTTP(w, r)
		return
	}
	w.Header().Set(idHeader, id)
	service := f.service(r.Host)
	mode := f.mode(service)
	body, whole, err := f.read(r)
	if err != nil {
		answer(w, id, "", http.StatusBadRequest, "body-unreadable", "the request's body could not be read to its end")
		return
	}
	if !whole {
		f.tooLarge(w, r, id, mode, body)
		return
	}
	restore(r, body)
	f.judged(w, r, id, service, mode, body)
}

// judged asks for the verdict and acts on it.
func (f *Filter) judged(w http.ResponseWriter, r *http.Request, id, service, mode string, body []byte) {
	said, err := f.verdict(r, id, service, mode, body)
	if err != nil {
		f.unjudged(w, r, id, mode, err)
		return
	}
	kept := said.Get("X-Autogit-Quarantine")
	switch said.Get("X-Autogit-Action") {
	case "pass":
		f.pass(w, r, said.Get(riskHeader))
	case "hold":
		w.Header().Set(riskHeader, said.Get(riskHeader))
		answer(w, id, kept, http.StatusUnprocessableEntity, "prompt-quarantined",
			"the text looks like instructions to a language model and is held back as "+kept+
				"; `autogit quarantine release "+kept+"` lets it pass from then on")
	case "refuse":
		w.Header().Set(riskHeader, said.Get(riskHeader))
		answer(w, id, kept, http.StatusForbidden, "prompt-blocked",
			"the text looks like instructions to a language model and is refused; it is kept as "+kept+
				"; `autogit quarantine release "+kept+"` lets it pass from then on")
	case "too-large":
		f.tooLarge(w, r, id, mode, nil)
	case "unreadable":
		answer(w, id, "", http.StatusUnsupportedMediaType, "encoding-unsupported",
			"the body's Content-Encoding is none of gzip, deflate, br and zstd, or the body does not follow it")
	case "unkept": // known to be bad, whatever PROMPT_FILTER_FAIL says
		w.Header().Set("Retry-After", "60")
		answer(w, id, "", http.StatusServiceUnavailable, "quarantine-unavailable",
			"the text is to be held back, and the quarantine cannot keep it; `autogit quarantine list` tells how full it is")
	default:
		f.unjudged(w, r, id, mode, errors.New("the answer holds no verdict"))
	}
}

func (f *Filter) pass(w http.ResponseWriter, r *http.Request, risk string) {
	r.Header.Set(riskHeader, risk)
	w.Header().Set(riskHeader, risk)
	f.next.ServeHTTP(w, r)
}

// unjudged lets pass or refuses what nobody could judge. What only is watched always passes.
func (f *Filter) unjudged(w http.ResponseWriter, r *http.Request, id, mode string, err error) {
	passes := mode == monitor || f.config.FailOpen
	if passes {
		atomic.AddInt64(&passedUnjudged, 1)
	} else {
		atomic.AddInt64(&refusedUnjudged, 1)
	}
	now := time.Now().Unix()
	if atomic.SwapInt64(&lastLogged, now) != now {
		fmt.Fprintf(os.Stderr, "prompt filter: a text could not be judged (passes: %t, request %s): %v\n", passes, id, err)
	}
	if passes {
		f.pass(w, r, "unknown")
		return
	}
	w.Header().Set("Retry-After", "2")
	answer(w, id, "", http.StatusServiceUnavailable, "prompt-filter-unavailable",
		"the text cannot be judged at the moment, and PROMPT_FILTER_FAIL=closed lets none pass unjudged")
}

// tooLarge refuses a text above the limit; where only is watched, it passes as it came.
func (f *Filter) tooLarge(w http.ResponseWriter, r *http.Request, id, mode string, begin []byte) {
	if mode == monitor {
		if begin != nil {
			prepend(r, begin)
		}
		f.pass(w, r, "unknown")
		return
	}
	if r.ProtoMajor == 1 {
		w.Header().Set("Connection", "close") // the rest of the body is not read
	}
	answer(w, id, "", http.StatusRequestEntityTooLarge, "body-too-large",
		fmt.Sprintf("a text may have %d bytes here, decompressed too (PROMPT_FILTER_MAX_BODY_BYTES)", f.config.MaxBodyBytes))
}

type joined struct {
	io.Reader
	io.Closer
}

// prepend gives a request back what was read of its body.
func prepend(r *http.Request, begin []byte) {
	r.Body = &joined{Reader: io.MultiReader(bytes.NewReader(begin), r.Body), Closer: r.Body}
}

// read returns the body and whether that is all of it.
func (f *Filter) read(r *http.Request) ([]byte, bool, error) {
	if r.ContentLength > f.config.MaxBodyBytes {
		return []byte{}, false, nil
	}
	body, err := io.ReadAll(io.LimitReader(r.Body, f.config.MaxBodyBytes+1))
	return body, int64(len(body)) <= f.config.MaxBodyBytes, err
}

func restore(r *http.Request, body []byte) {
	r.Body = io.NopCloser(bytes.NewReader(body))
	r.ContentLength = int64(len(body))
	r.TransferEncoding = nil
	r.Header.Del("Transfer-Encoding")
	r.Header.Del("Expect")
	r.Header.Set("Content-Length", fmt.Sprint(len(body)))
}

// verdict asks the verdict service; a connection that breaks (a worker of it was killed) is no reason to give up.
func (f *Filter) verdict(r *http.Request, id, service, mode string, body []byte) (http.Header, error) {
	within, cancel := context.WithTimeout(r.Context(), time.Duration(f.config.TimeoutMs)*time.Millisecond)
	defer cancel()
	var failure error
	for attempt := 0; attempt < attempts && within.Err() == nil; attempt++ {
		time.Sleep(time.Duration(attempt*50) * time.Millisecond)
		said, again, err := f.ask(within, r, id, service, mode, body)
		if err == nil {
			return said, nil
		}
		failure = err
		if !again {
			break
		}
	}
	if failure == nil {
		failure = within.Err()
	}
	return nil, failure
}

// ask asks once, and tells whether it is worth asking again.
func (f *Filter) ask(
	within context.Context, r *http.Request, id, service, mode string, body []byte,
) (http.Header, bool, error) {
	question, err := http.NewRequestWithContext(within, http.MethodPost, f.url, bytes.NewReader(body))
	if err != nil {
		return nil, false, err
	}
	for _, name := range []string{"Content-Type", "Content-Encoding"} {
		if value := strings.Join(r.Header.Values(name), ", "); value != "" {
			question.Header.Set(name, cut(value))
		}
	}
	question.Header.Set("X-Autogit-Service", service)
	question.Header.Set("X-Autogit-Mode", mode)
	question.Header.Set(idHeader, id)
	passed, refused := atomic.SwapInt64(&passedUnjudged, 0), atomic.SwapInt64(&refusedUnjudged, 0)
	if passed+refused > 0 {
		question.Header.Set("X-Autogit-Unjudged", fmt.Sprintf("%d,%d", passed, refused))
	}
	reply, err := client.Do(question)
	if err == nil {
		io.Copy(io.Discard, reply.Body)
		reply.Body.Close()
		if reply.StatusCode == http.StatusNoContent {
			return reply.Header, false, nil
		}
		err = fmt.Errorf("the verdict service answers %d", reply.StatusCode)
	}
	atomic.AddInt64(&passedUnjudged, passed)
	atomic.AddInt64(&refusedUnjudged, refused)
	return nil, reply == nil, err
}

func cut(value string) string {
	if len(value) > longestHeader {
		return value[:longestHeader]
	}
	return value
}

func (f *Filter) service(host string) string {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	if name := f.config.Services[strings.ToLower(strings.TrimSuffix(host, "."))]; name != "" {
		return name
	}
	return "other" // a container of the user's own that names this middleware
}

func (f *Filter) mode(service string) string {
	if mode := f.config.Modes[service]; mode != "" {
		return mode
	}
	return f.config.Mode
}

// isText tells whether a body of these content types may hold text. A body of no type may.
func isText(types []string) bool {
	if len(types) == 0 {
		return true
	}
	for _, one := range types {
		kind, _, _ := strings.Cut(strings.ToLower(one), ";")
		kind = strings.TrimSpace(kind)
		class, name, whole := strings.Cut(kind, "/")
		if !whole || class == "text" || class == "multipart" || class == "message" || strings.Contains(name, ",") {
			return true
		}
		for _, word := range strings.FieldsFunc(name, isPunctuation) {
			if textWords[word] {
				return true
			}
		}
	}
	return false
}

// beginsAsText tells whether a body is text although its type says otherwise: there are services that ask for no type.
func beginsAsText(r *http.Request, types []string) bool {
	least := sniffedBytes
	if strings.HasPrefix(strings.ToLower(types[0]), "application/grpc") {
		least = 1 // the client may wait for an answer before it says more
	}
	begin := make([]byte, sniffedBytes)
	size, _ := io.ReadAtLeast(r.Body, begin, least) // an error comes again with the next read
	begin = begin[:size]
	prepend(r, begin)
	encoding := strings.ToLower(strings.TrimSpace(strings.Join(r.Header.Values("Content-Encoding"), ",")))
	switch {
	case encoding == "gzip" || encoding == "x-gzip":
		stream, err := gzip.NewReader(bytes.NewReader(begin))
		if err != nil {
			return size == sniffedBytes // the stream may begin with a name that is longer
		}
		begin, _ = io.ReadAll(io.LimitReader(stream, sniffedBytes))
	case encoding == "deflate" || encoding == "br" || encoding == "zstd" || strings.Contains(encoding, ","):
		return true // the filter can undo these; what it cannot (snappy, aws-chunked) is looked at as it stands
	}
	return isUTF16(begin) || strings.HasPrefix(http.DetectContentType(begin), "text/")
}

// isUTF16 tells whether bytes look like UTF-16 or UTF-32 of mostly ASCII; an archive's head has more NULs, or later ones.
func isUTF16(begin []byte) bool {
	first, zeros := bytes.IndexByte(begin, 0), bytes.Count(begin, []byte{0})
	return (first == 0 || first == 1) && zeros*3 >= len(begin) && zeros*4 <= len(begin)*3 &&
		strings.HasPrefix(http.DetectContentType(bytes.ReplaceAll(begin, []byte{0}, nil)), "text/")
}

func isPunctuation(r rune) bool { return strings.ContainsRune("+.-_", r) }

var textWords = map[string]bool{
	"json": true, "ndjson": true, "jsonl": true, "jsonlines": true, "json5": true, "xml": true, "xhtml": true,
	"yaml": true, "urlencoded": true, "graphql": true, "javascript": true, "ecmascript": true, "typescript": true,
	"toml": true, "sql": true, "sh": true, "csv": true, "markdown": true, "html": true, "text": true, "tex": true,
	"latex": true, "rtf": true, "svg": true, "mbox": true,
}

// requestID returns what the client called its request, where that can be written anywhere, or a new name.
func requestID(given string) string {
	if given != "" && len(given) <= longestID && strings.Trim(given, idRunes) == "" {
		return given
	}
	fresh := make([]byte, 16)
	if _, err := rand.Read(fresh); err != nil {
		return "unknown"
	}
	return hex.EncodeToString(fresh)
}

const idRunes = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_."

// answer writes problem details (RFC 9457) as AutoGit's own API does. No text of the request is in them.
func answer(w http.ResponseWriter, id, kept string, status int, code, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	extra := ""
	if kept != "" {
		extra = fmt.Sprintf(`"quarantine_id":%q,`, kept)
		w.Header().Set("X-Autogit-Quarantine", kept)
	}
	w.WriteHeader(status)
	fmt.Fprintf(w, `{"type":"urn:autogit:error:%s","title":%q,"status":%d,"detail":%q,%s"request_id":%q}`+"\n",
		code, code, status, detail, extra, id)
}
