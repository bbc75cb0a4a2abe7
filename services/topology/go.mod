module github.com/closeloop/closeloop/services/topology

go 1.26.0
