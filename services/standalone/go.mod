module github.com/closeloop/closeloop/services/standalone

go 1.26.0
