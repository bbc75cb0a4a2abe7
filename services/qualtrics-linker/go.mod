module github.com/closeloop/closeloop/services/qualtrics-linker

go 1.26.0
