package main

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// everything is a value for each quantity that a target names.
func everything() measurements {
	m := measurements{}
	for _, t := range targets {
		m[t.of] = []float64{1}
		if t.base != "" {
			m[t.base] = []float64{100}
		}
	}
	return m
}

func rowOf(t *testing.T, m measurements, figure string) row {
	t.Helper()
	rows, err := fill(m)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range rows {
		if r.figure == figure {
			return r
		}
	}
	t.Fatalf("no row %q", figure)
	return row{}
}

func TestFill(t *testing.T) {
	tests := []struct {
		name   string
		figure string
		values measurements
		want   row
	}{
		{"within", "whole job, cold", measurements{jobTime: {71, 60, 70}, classicTime: {100.04}},
			row{measured: "70.0 s (60.0 s to 71.0 s)", base: "100.0 s", ratio: "0.700", met: true}},
		{"above", "whole job, cold", measurements{jobTime: {70.1}, classicTime: {100}},
			row{measured: "70.1 s", base: "100.0 s", ratio: "0.701"}},
		{"an even number of turns", "whole job, cold", measurements{jobTime: {10, 20}, classicTime: {100}},
			row{measured: "15.0 s (10.0 s to 20.0 s)", base: "100.0 s", ratio: "0.150", met: true}},
		{"each turn", "source stage of a second release, in every turn", measurements{secondTime: {4, 5, 4}, sourceTime: {10, 10, 10}},
			row{measured: "4.00 s (4.00 s to 5.00 s)", base: "10.0 s", ratio: "0.400 (at worst 0.500)"}},
		{"bytes", "its bytes on the network", measurements{sourceBytes: {17_460_000}, depth1Bytes: {244e6}},
			row{measured: "17.5 MB", base: "244 MB", ratio: "0.072", met: true}},
		{"a limit by itself", "the static binary", measurements{binarySize: {24e6}},
			row{measured: "24.0 MB", met: true}},
		{"the worst of several counts", "each further compiler in it", measurements{compilerSize: {40e6, 71e6}},
			row{measured: "55.5 MB (40.0 MB to 71.0 MB)"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			m := everything()
			for q, values := range tt.values {
				m[q] = values
			}
			got := rowOf(t, m, tt.figure)
			got.figure, got.against, got.most, got.why = "", "", "", ""
			if diff := cmp.Diff(tt.want, got, cmp.AllowUnexported(row{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// TestNothingIsLeftOut has every measurement missing once.
func TestNothingIsLeftOut(t *testing.T) {
	for q := range everything() {
		m := everything()
		delete(m, q)
		if _, err := fill(m); err == nil {
			t.Errorf("a table without %s", q)
		}
	}
}

func TestReportSaysWhatIsShort(t *testing.T) {
	rows := []row{
		{figure: "a", measured: "1.00 s", against: "b", base: "2.00 s", ratio: "0.500", most: "0.22", why: "the moon"},
		{figure: "c", measured: "10.0 MB", most: "20.0 MB", met: true},
	}
	text := report{runs: 1, table: rows}.markdown()
	for _, want := range []string{
		"| a | 1.00 s | b: 2.00 s | 0.500 | 0.22 | **missed** |\n",
		"| c | 10.0 MB |  |  | 20.0 MB | met |\n",
		"\n1 of 2 figures are short of their target.\n\n- a: the moon.\n", "too few",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("the report does not say %q:\n%s", want, text)
		}
	}
	if text := (report{runs: enoughRuns, table: rows[1:]}).markdown(); strings.Contains(text, "too few") || !strings.Contains(text, "All 1 figures") {
		t.Errorf("report:\n%s", text)
	}
}

func TestRelayCounts(t *testing.T) {
	const size = 1 << 20
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		io.Copy(io.Discard, r.Body)
		fmt.Fprint(w, strings.Repeat("x", size))
	}))
	defer server.Close()
	relay, err := newRelay(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer relay.close()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Post(relay.url(), "text/plain", strings.NewReader(strings.Repeat("y", size)))
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(response.Body)
	response.Body.Close()
	if err != nil || len(body) != size {
		t.Fatalf("%d bytes: %v", len(body), err)
	}
	if got := relay.bytes(); got < 2*size || got > 2*size+4096 {
		t.Errorf("%g bytes, want %d and headers", got, 2*size)
	}
}
