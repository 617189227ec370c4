// The AWS SDK for Go v1 with its default chain, before it knew AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/aws/aws-sdk-go/aws"
	"github.com/aws/aws-sdk-go/aws/session"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "--version" {
		fmt.Println(aws.SDKName, aws.SDKVersion)
		return
	}
	told := map[string]string{}
	key, err := accessKey()
	if err != nil {
		told["error"] = err.Error()
	} else {
		told["accessKeyId"] = key
	}
	json.NewEncoder(os.Stdout).Encode(told)
}

func accessKey() (string, error) {
	chain, err := session.NewSessionWithOptions(session.Options{SharedConfigState: session.SharedConfigEnable})
	if err != nil {
		return "", err
	}
	found, err := chain.Config.Credentials.Get()
	return found.AccessKeyID, err
}
