// Package edmxtest holds the $metadata that SAP has published of the services that closeloop calls, for tests that hold
// what we send against it. A tenant's own metadata always wins: releases differ, and tenants add fields.
//
// The files are not ours: see NOTICE at the top of the repository.
package edmxtest

import (
	"bytes"
	"embed"
	"testing"

	"github.com/closeloop/closeloop/pkg/odata/edmx"
)

// The services that there is metadata of.
const (
	// Interactions is the interaction service of SAP Marketing Cloud (sap-marketing-cloud.md §2).
	Interactions = "API_MKT_INTERACTION_SRV"
	// Contacts is its contact service, version 2 (§4).
	Contacts = "API_MKT_CONTACT_SRV"
	// Surveys is its survey import (§5).
	Surveys = "CUAN_SURVEY_IMPORT_SRV"
	// SalesTasks is the part of SAP Sales Cloud's c4codataapi around Tasks (sap-sales-cloud.md).
	SalesTasks = "C4C_TASKS"
)

//go:embed *.xml
var files embed.FS

// Load gives the metadata of a service.
func Load(t testing.TB, service string) edmx.Schema {
	t.Helper()
	content, err := files.ReadFile(service + ".xml")
	if err != nil {
		t.Fatal(err)
	}
	schema, err := edmx.Parse(bytes.NewReader(content))
	if err != nil {
		t.Fatal(err)
	}
	return schema
}
