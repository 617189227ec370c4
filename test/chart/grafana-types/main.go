// grafana-types reads a dashboard as JSON and reports what Grafana would not accept in it: unknown and missing fields and wrong types, in its panels'
// options and queries, too. It uses the types that Grafana generates from its schema.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/grafana/grafana-foundation-sdk/go/cog/plugins"
	"github.com/grafana/grafana-foundation-sdk/go/dashboard"
)

func main() {
	plugins.RegisterDefaultPlugins()
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(2)
	}
	if len(text) == 0 {
		fmt.Println("no dashboard")
		return
	}
	var read dashboard.Dashboard
	err = read.UnmarshalJSONStrict(text)
	if err == nil {
		err = read.Validate()
	}
	// For a valid dashboard this may be an empty list of errors.
	if err != nil && err.Error() != "" {
		fmt.Println(err)
		os.Exit(1)
	}
}
