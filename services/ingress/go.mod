module github.com/closeloop/closeloop/services/ingress

go 1.26.0
