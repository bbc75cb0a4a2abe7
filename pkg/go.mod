module github.com/closeloop/closeloop/pkg

go 1.26.0
