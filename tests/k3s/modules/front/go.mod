module eaves.dev/tests/k3s/front

go 1.26.0
