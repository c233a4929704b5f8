//go:build programs

// Package programs keeps what is built here in go.mod.
package programs

import (
	_ "helm.sh/helm/v3/cmd/helm"
)
