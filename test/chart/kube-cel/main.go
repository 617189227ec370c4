// kube-cel compiles the CEL of policies and webhook configurations as the API server of a version does when they are
// applied, and evaluates it for requests as it does when they are in force. It uses the packages of k8s.io/apiserver.
//
// It reads one input as JSON from stdin and writes one output as JSON to stdout.
package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"

	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apiserver/pkg/cel/environment"
)

type input struct {
	// Compatibility is the version ("1.29") whose expressions are accepted. A server accepts those of the minor version before
	// its own; the default is what a server with this program's packages accepts.
	Compatibility string `json:"compatibility"`
	// Unstructured evaluates objects as their JSON, as older API servers do, instead of by reflection on their Go types.
	Unstructured bool `json:"unstructured"`
	// Objects of any kind; those without CEL are ignored.
	Objects  []json.RawMessage `json:"objects"`
	Requests []request         `json:"requests"`
}

type request struct {
	// Of is the name of the policy or of the webhook that judges.
	Of        string                       `json:"of"`
	Request   admissionv1.AdmissionRequest `json:"request"`
	Namespace *corev1.Namespace            `json:"namespace"`
}

type output struct {
	Compatibility string `json:"compatibility"`
	// Compiled counts the expressions, by the name of the policy or webhook.
	Compiled map[string]int `json:"compiled"`
	Errors   []string       `json:"errors"`
	Verdicts []verdict      `json:"verdicts"`
}

func main() {
	text, err := io.ReadAll(os.Stdin)
	if err != nil {
		fail(err)
	}
	var in input
	decoder := json.NewDecoder(bytes.NewReader(text))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&in); err != nil {
		fail(err)
	}
	out, err := run(in)
	if err != nil {
		fail(err)
	}
	if err := json.NewEncoder(os.Stdout).Encode(out); err != nil {
		fail(err)
	}
}

func run(in input) (output, error) {
	compatibility := environment.DefaultCompatibilityVersion()
	if in.Compatibility != "" {
		parsed, err := version.ParseMajorMinor(in.Compatibility)
		if err != nil {
			return output{}, err
		}
		compatibility = parsed
	}
	out := output{Compatibility: compatibility.String(), Compiled: map[string]int{}, Errors: []string{}, Verdicts: []verdict{}}
	judges := map[string]judge{}
	for _, object := range in.Objects {
		found, err := judgesOf(object, environment.MustBaseEnvSet(compatibility))
		if err != nil {
			return output{}, err
		}
		for _, one := range found {
			judges[one.name] = one
			out.Compiled[one.name] = one.compiled
			out.Errors = append(out.Errors, one.errors...)
		}
	}
	for i, one := range in.Requests {
		judge, known := judges[one.Of]
		if !known {
			return output{}, fmt.Errorf("request %d is for %q, which is not among the objects", i, one.Of)
		}
		attributes, err := attributesOf(one.Request, in.Unstructured)
		if err != nil {
			return output{}, fmt.Errorf("request %d: %w", i, err)
		}
		out.Verdicts = append(out.Verdicts, judge.judge(attributes, one.Namespace))
	}
	return out, nil
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}
