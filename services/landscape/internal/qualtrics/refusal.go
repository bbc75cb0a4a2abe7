package qualtrics

import (
	"fmt"
	"net/http"
)

// refusal is an answer other than success, in the vendor's words.
type refusal struct {
	status        int
	code, message string
	noRequestID   bool // requestId is null
	retryAfter    int  // seconds; 0: no such header
}

// Error gives the message, for refusals that end up where no HTTP answer is.
func (r *refusal) Error() string { return r.message }

// refuse makes a refusal. Where the contract names no errorCode for a mistake, code is empty and left out of the answer.
func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) *refusal {
	return refuse(http.StatusBadRequest, "", format, args...)
}

func notFound(format string, args ...any) *refusal {
	return refuse(http.StatusNotFound, "", format, args...)
}

// The refusals that qualtrics.md §2.5 has the code of.
func unexpectedKey(name string) *refusal {
	return refuse(http.StatusBadRequest, "RP_9", "Unexpected json key provided: %s", name)
}

func missingParam(name string) *refusal {
	return refuse(http.StatusBadRequest, "RP_10", "Expected param not found: %s", name)
}

func surveyNotFound() *refusal {
	return refuse(http.StatusNotFound, "GSI_2", "Survey not found.")
}

func distributionNotFound() *refusal {
	return refuse(http.StatusNotFound, "GED_3", "Distribution not found.")
}

func listNotFound() *refusal {
	return refuse(http.StatusNotFound, "PACC_6", "Mailing List not found")
}

func forbidden() *refusal {
	return refuse(http.StatusForbidden, "QMST_2.1", "The operation is forbidden.")
}

// internalError and timedOut are the failures of qualtrics.md §2.6 that are nobody's mistake.
func internalError() *refusal {
	return refuse(http.StatusInternalServerError, "", "Internal Server Error")
}

func timedOut() *refusal {
	return refuse(http.StatusGatewayTimeout, "", "Gateway Timeout")
}
