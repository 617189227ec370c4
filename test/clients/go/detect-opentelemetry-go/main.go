// OpenTelemetry's EC2 detector for Go.
package main

import (
	"context"
	"errors"

	"go.opentelemetry.io/contrib/detectors/aws/ec2/v2"
	"pod2iam.dev/clients/told"
)

func main() {
	told.Print("go.opentelemetry.io/contrib/detectors/aws/ec2/v2", "host.id", func() (string, error) {
		found, err := ec2.NewResourceDetector().Detect(context.Background())
		if err != nil {
			return "", err
		}
		id, ok := found.Set().Value("host.id")
		if !ok {
			return "", errors.New("the detector found nothing")
		}
		return id.AsString(), nil
	})
}
