//go:build programs

// Package programs keeps what is built here in go.mod.
package programs

import (
	_ "github.com/k3s-io/helm-controller"
)
