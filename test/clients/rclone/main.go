// rclone with its S3 backend and one command.
package main

import (
	_ "github.com/rclone/rclone/backend/s3"
	"github.com/rclone/rclone/cmd"
	_ "github.com/rclone/rclone/cmd/lsd"
)

func main() { cmd.Main() }
