//go:build programs

// Package programs keeps what is built here in go.mod.
package programs

import (
	_ "sigs.k8s.io/cri-tools/cmd/crictl"
)
