package etcd

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// maxAnswer is the size of the largest answer, in bytes: 10,000 keys with values of 2 kB
// each.
const maxAnswer = 32 << 20

// span is where keys are: from the first to before the end, as etcd orders them.
type span struct {
	Key []byte `json:"key"`
	End []byte `json:"range_end"`
}

// rangeRequest is etcdserverpb.RangeRequest, rangeAnswer etcdserverpb.RangeResponse.
type rangeRequest struct {
	span
	Limit    int64  `json:"limit,omitempty"`
	KeysOnly bool   `json:"keys_only,omitempty"`
	Target   string `json:"sort_target,omitempty"`
	Order    string `json:"sort_order,omitempty"`
}

type rangeAnswer struct {
	Header header     `json:"header"`
	Keys   []keyValue `json:"kvs"`
	Count  int64      `json:"count,string"`
}

type header struct {
	Revision int64 `json:"revision,string"`
}

type keyValue struct {
	Key      []byte `json:"key"`
	Value    []byte `json:"value"`
	Modified int64  `json:"mod_revision,string"`
}

// authRequest is etcdserverpb.AuthenticateRequest, and authAnswer its answer.
type authRequest struct {
	Name     string `json:"name"`
	Password string `json:"password"`
}

type authAnswer struct {
	Token string `json:"token"`
}

// refusal is the answer of etcd to what it doesn't do.
type refusal struct {
	Message string `json:"message"`
	Code    int    `json:"code"` // of gRPC
}

// Codes of gRPC.
const (
	failedPrecondition = 9
	unauthenticated    = 16
)

func (r *refusal) Error() string {
	text := strings.TrimPrefix(r.Message, "etcdserver: ")
	if len(text) > 200 {
		text = text[:200] + "…"
	}
	if text == "user name is empty" {
		return "it asks who we are; set config.etcd.user"
	}
	return text
}

// outdated reports whether the answer is that the token has ended, or is older than a change of users.
func outdated(err error) bool {
	r, ok := errors.AsType[*refusal](err)
	return ok && (r.Code == unauthenticated || strings.Contains(r.Message, "revision of auth store is old"))
}

// call asks an endpoint, and reads its answer within the time. A token that has ended is
// replaced.
func (c *Client) call(ctx context.Context, endpoint, method string, question, answer any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.cfg.Timeout, fmt.Errorf("no answer within %v", c.cfg.Timeout))
	defer cancel()
	return c.withToken(ctx, endpoint, func() error {
		body, err := c.post(ctx, endpoint, method, question)
		if err != nil {
			return err
		}
		defer body.Close()
		return c.decode(ctx, body, answer)
	})
}

// withToken does what needs a token: again, with a new one, if the one that it had has
// ended.
func (c *Client) withToken(ctx context.Context, endpoint string, do func() error) error {
	if c.cfg.User == "" {
		return do()
	}
	fresh := c.token == ""
	if fresh {
		if err := c.authenticate(ctx, endpoint); err != nil {
			return err
		}
	}
	err := do()
	if fresh || !outdated(err) {
		return err
	}
	if err := c.authenticate(ctx, endpoint); err != nil {
		return err
	}
	return do()
}

// authenticate gets a token for the password. etcd that asks nobody for one gives none.
func (c *Client) authenticate(ctx context.Context, endpoint string) error {
	c.token = ""
	body, err := c.post(ctx, endpoint, "auth/authenticate", authRequest{c.cfg.User, c.password})
	if r, ok := errors.AsType[*refusal](err); ok && r.Code == failedPrecondition {
		return nil
	}
	if err != nil {
		return fmt.Errorf("log in as %s: %w", c.cfg.User, err)
	}
	defer body.Close()
	var answer authAnswer
	if err := c.decode(ctx, body, &answer); err != nil {
		return fmt.Errorf("log in as %s: %w", c.cfg.User, err)
	}
	c.token = answer.Token
	return nil
}

// post sends a request, and returns the body of the answer, which the caller closes. An error says no more
// of the request than where it went.
func (c *Client) post(ctx context.Context, endpoint, method string, question any) (io.ReadCloser, error) {
	text, err := json.Marshal(question)
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, endpoint+"/v3/"+method, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	// A member that has lost the others ends a watch then, rather than being silent.
	request.Header.Set("Grpc-Metadata-Hasleader", "true")
	if c.token != "" {
		request.Header.Set("Authorization", c.token)
	}
	response, err := c.http.Do(request)
	if err != nil {
		if u, ok := errors.AsType[*url.Error](err); ok {
			err = u.Err
		}
		return nil, timedOut(ctx, err)
	}
	if response.StatusCode == http.StatusOK {
		return response.Body, nil
	}
	defer response.Body.Close()
	return nil, c.refused(ctx, response)
}

// refused says what an answer means that isn't 200.
func (c *Client) refused(ctx context.Context, response *http.Response) error {
	var r refusal
	switch err := c.decode(ctx, response.Body, &r); {
	case response.StatusCode >= 300 && response.StatusCode < 400:
		return fmt.Errorf("it redirects to %.100q, and redirects are not followed", response.Header.Get("Location"))
	case err == nil && r.Message != "":
		return &r
	case response.StatusCode == http.StatusNotFound:
		return errors.New("it has no JSON gateway: is it etcd 3.4 or later, without --enable-grpc-gateway=false?")
	}
	return fmt.Errorf("it answers with status %d", response.StatusCode)
}

var errTooLarge = fmt.Errorf("the answer has more than %d MiB; choose a prefix of its own (config.etcd.prefix)", maxAnswer>>20)

// decode reads an answer.
func (c *Client) decode(ctx context.Context, body io.Reader, answer any) error {
	limited := &io.LimitedReader{R: body, N: c.maxBytes}
	err := json.NewDecoder(limited).Decode(answer)
	switch {
	case err == nil:
		return nil
	case limited.N <= 0:
		return errTooLarge
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
		return errors.New("the answer ends in the middle")
	}
	return fmt.Errorf("the answer is not one of etcd: %w", err)
}

// timedOut is the cause of an error if the time is over.
func timedOut(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
