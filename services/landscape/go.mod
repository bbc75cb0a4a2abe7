module github.com/closeloop/closeloop/services/landscape

go 1.26.0
