// kube-types reads Kubernetes objects as YAML and reports what the API server would not accept in them: unknown and repeated
// fields, wrong types, unknown kinds. It uses the types of k8s.io/api and of the Prometheus operator.
package main

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"

	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
)

func main() {
	types := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{scheme.AddToScheme, monitoring.AddToScheme} {
		if err := add(types); err != nil {
			fail(err)
		}
	}
	decoder := serializer.NewCodecFactory(types, serializer.EnableStrict).UniversalDeserializer()
	documents := yaml.NewYAMLReader(bufio.NewReader(os.Stdin))
	wrong := false
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			fail(err)
		}
		json, err := yaml.ToJSON(document)
		if err != nil {
			fail(err)
		}
		if string(json) == "null" {
			continue
		}
		if _, _, err := decoder.Decode(document, nil, nil); err != nil {
			wrong = true
			fmt.Printf("%s\n%s", err, document)
		}
	}
	if wrong {
		os.Exit(1)
	}
}

func fail(err error) {
	fmt.Fprintln(os.Stderr, err)
	os.Exit(2)
}
