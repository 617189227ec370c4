// Package told prints what a client found, as one line of JSON, or the version of a module in this program.
package told

import (
	"encoding/json"
	"fmt"
	"log"
	"os"
	"runtime/debug"
)

// Print writes what find returns, under name. With --version it writes the version of the module instead and asks nobody.
func Print(module, name string, find func() (string, error)) {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println(module, version(module))
		return
	}
	found := map[string]string{}
	if value, err := find(); err != nil {
		found["error"] = err.Error()
	} else {
		found[name] = value
	}
	if err := json.NewEncoder(os.Stdout).Encode(found); err != nil {
		log.Fatal(err)
	}
}

func version(module string) string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		log.Fatal("no build information")
	}
	for _, dependency := range info.Deps {
		if dependency.Path == module {
			return dependency.Version
		}
	}
	log.Fatalf("%s is not in this program", module)
	return ""
}
