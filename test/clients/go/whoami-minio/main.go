// minio-go with credentials.IAM, as its programs use it.
package main

import (
	"net/http"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"pod2iam.dev/clients/told"
)

func main() {
	told.Print("github.com/minio/minio-go/v7", "accessKeyId", func() (string, error) {
		transport, err := minio.DefaultTransport(false)
		if err != nil {
			return "", err
		}
		// What minio.New gives its credentials.
		client := &http.Client{Transport: transport}
		found, err := credentials.NewIAM("").GetWithContext(&credentials.CredContext{Client: client})
		return found.AccessKeyID, err
	})
}
