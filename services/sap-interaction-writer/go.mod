module github.com/closeloop/closeloop/services/sap-interaction-writer

go 1.26.0
