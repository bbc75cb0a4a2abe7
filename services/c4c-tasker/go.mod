module github.com/closeloop/closeloop/services/c4c-tasker

go 1.26.0
