// The AWS SDK for Go v1 with its default chain.
package main

import (
	"github.com/aws/aws-sdk-go/aws/session"
	"pod2iam.dev/clients/told"
)

func main() {
	told.Print("github.com/aws/aws-sdk-go", "accessKeyId", func() (string, error) {
		chain, err := session.NewSessionWithOptions(session.Options{SharedConfigState: session.SharedConfigEnable})
		if err != nil {
			return "", err
		}
		found, err := chain.Config.Credentials.Get()
		return found.AccessKeyID, err
	})
}
