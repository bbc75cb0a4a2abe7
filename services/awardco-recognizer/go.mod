module github.com/closeloop/closeloop/services/awardco-recognizer

go 1.26.0
