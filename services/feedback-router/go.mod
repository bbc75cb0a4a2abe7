module github.com/closeloop/closeloop/services/feedback-router

go 1.26.0
