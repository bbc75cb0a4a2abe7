package salescloud

import "github.com/closeloop/closeloop/services/landscape/internal/odatasim"

func text(name string, length int) odatasim.Property {
	return odatasim.Property{Name: name, Type: odatasim.String, MaxLength: length}
}

func typed(name string, edm odatasim.Edm) odatasim.Property {
	return odatasim.Property{Name: name, Type: edm}
}

func readOnly(p odatasim.Property) odatasim.Property {
	p.ReadOnly = true
	return p
}

func createOnly(p odatasim.Property) odatasim.Property {
	p.CreateOnly = true
	return p
}

func codeText(name string) odatasim.Property {
	return odatasim.Property{Name: name, Type: odatasim.String, CodeText: true}
}

// objectID is the key of every entity: set by the server, and ignored when a create sends one (odata-v2.md §9).
func objectID() odatasim.Property {
	return odatasim.Property{Name: "ObjectID", Type: odatasim.String, MaxLength: 70, Key: true, ServerSet: true}
}

func etag() odatasim.Property {
	return odatasim.Property{Name: etagField, Type: odatasim.DateTimeOffset, ReadOnly: true, NotFilterable: true}
}

// taskType is the entity type of sap-sales-cloud.md §2.
func taskType(extensions []ExtensionField) *odatasim.EntityType {
	t := &odatasim.EntityType{Name: "Tasks", Properties: []odatasim.Property{
		objectID(),
		text("DocumentType", 4), codeText("DocumentTypeText"),
		readOnly(text("ID", 35)),
		text("Subject", 765),
		text("Status", 2), codeText("StatusText"),
		typed("StartDateTime", odatasim.DateTimeOffset),
		text("StartDatetimeZoneCode", 10), codeText("StartDatetimeZoneCodeText"),
		typed("ActivityList", odatasim.Guid),
		typed("DueDateTime", odatasim.DateTimeOffset),
		text("DueDatetimeZoneCode", 10), codeText("DueDatetimeZoneCodeText"),
		text("PlannedDuration", 20),
		text("ActualDuration", 20),
		typed("CompletionDateTime", odatasim.DateTimeOffset),
		text("MainEmployeeResponsiblePartyID", 60),
		text("MainAccountPartyID", 60),
		text("MainContactPartyID", 60),
		text("ProcessorPartyID", 60),
		{Name: "CompletionPercent", Type: odatasim.Decimal, Precision: 5, Scale: 2},
		text("Category", 4), codeText("CategoryText"),
		text("PriorityCode", 1), codeText("PriorityCodeText"),
		text("SalesTerritoryID", 6),
		readOnly(text("SalesTerritoryName", 40)),
		text("SalesOrganisationID", 20),
		text("DistributionChannelCode", 2), codeText("DistributionChannelCodeText"),
		text("DivisionCode", 2), codeText("DivisionCodeText"),
		readOnly(text("Account", 480)),
		typed("AccountUUID", odatasim.Guid),
		text("DataOriginTypeCode", 3), codeText("DataOriginTypeCodeText"),
		readOnly(text("Owner", 480)),
		typed("OwnerUUID", odatasim.Guid),
		readOnly(text("PrimaryContact", 480)),
		typed("PrimaryContactUUID", odatasim.Guid),
		readOnly(text("Processor", 480)),
		text("ProcessorEmailURI", 254),
		text("ProcessorPartyName", 255),
		typed("ProcessorUUID", odatasim.Guid),
		readOnly(typed("ReportedDateTime", odatasim.DateTimeOffset)),
		readOnly(typed("UUID", odatasim.Guid)),
		readOnly(text("ChangedBy", 480)),
		etag(),
		createOnly(typed("LastChangeDateTime", odatasim.DateTimeOffset)),
	}}
	for _, f := range extensions {
		field := text(f.Name, f.MaxLength)
		field.Extension = true
		t.Properties = append(t.Properties, field)
	}
	for _, c := range childTypes {
		t.Navigations = append(t.Navigations, odatasim.Navigation{Name: c.navigation, Set: c.set, ParentKey: "ParentObjectID"})
	}
	return t
}

// childType is one of the sets below a task.
type childType struct {
	navigation string
	set        string
	entity     *odatasim.EntityType
	codes      map[string]string
}

func child(name string, codes map[string]string, properties ...odatasim.Property) childType {
	common := []odatasim.Property{objectID(), createOnly(text("ParentObjectID", 70)), createOnly(text("TaskID", 35)), etag()}
	return childType{name, name + "Collection", &odatasim.EntityType{Name: name, Properties: append(common, properties...)}, codes}
}

const textNavigation = "TasksTextCollection"

// childTypes are the children of sap-sales-cloud.md §2.
var childTypes = []childType{
	child(textNavigation, textCodes,
		text("Text", 0),
		text("TypeCode", 5), codeText("TypeCodeText"),
		text("LanguageCode", 2), codeText("LanguageCodeText"),
		text("AuthorName", 40),
		typed("AuthorUUID", odatasim.Guid),
		readOnly(typed("CreatedOn", odatasim.DateTimeOffset)),
		readOnly(text("CreatedBy", 80)),
		readOnly(typed("UpdatedOn", odatasim.DateTimeOffset)),
		readOnly(text("LastUpdatedBy", 80))),
	child("TasksBTDReference", nil,
		text("ID", 35),
		text("TypeCode", 15), codeText("TypeCodeText"),
		text("BTDRoleCode", 3), codeText("BTDRoleCodeText")),
	child("TasksInvolvedParties", nil,
		text("PartyID", 60),
		text("RoleCode", 10), codeText("RoleCodeText"),
		text("PartyTypeCode", 15), codeText("PartyTypeCodeText"),
		typed("MainIndicator", odatasim.Boolean),
		text("Party", 255),
		typed("PartyUUID", odatasim.Guid),
		text("PartyEmailURI", 254),
		readOnly(text("PartyName", 480)),
		readOnly(text("Address", 480)),
		readOnly(text("EMail", 765)),
		readOnly(text("Phone", 350)),
		readOnly(text("RoleCategoryCode", 3)), codeText("RoleCategoryCodeText")),
	child("TasksAttachmentFolder", nil,
		odatasim.Property{Name: "Binary", Type: odatasim.Binary, CreateOnly: true, NotFilterable: true},
		odatasim.Property{Name: "CategoryCode", Type: odatasim.String, MaxLength: 1, Required: true, CreateOnly: true}, codeText("CategoryCodeText"),
		createOnly(text("TypeCode", 5)), codeText("TypeCodeText"),
		createOnly(text("MimeType", 0)),
		createOnly(text("Name", 0)),
		createOnly(text("DocumentLink", 0)),
		createOnly(text("LinkWebURI", 0)),
		readOnly(typed("UUID", odatasim.Guid)),
		readOnly(text("CreatedBy", 80)),
		readOnly(typed("CreatedOn", odatasim.DateTime)),
		readOnly(text("LastUpdatedBy", 80)),
		readOnly(typed("LastUpdatedOn", odatasim.DateTime))),
}

// partyType is the part of a business partner's entity type that the contract names (sap-sales-cloud.md §2, "Party
// resolution"), with a name that is assumed.
func partyType(name string, fields ...odatasim.Property) *odatasim.EntityType {
	properties := []odatasim.Property{objectID()}
	properties = append(properties, fields...)
	return &odatasim.EntityType{Name: name, Properties: append(properties, text("Name", 480), text("Email", 765))}
}

var externalFields = []odatasim.Property{
	readOnly(text("ExternalID", 100)), readOnly(text("ExternalSystem", 32)), readOnly(typed("ChangedOn", odatasim.DateTimeOffset)),
}

var (
	accountType    = partyType("CorporateAccount", append(externalFields, text("AccountID", 10))...)
	individualType = partyType("IndividualCustomer", append(externalFields, text("CustomerID", 10))...)
	contactType    = partyType("Contact", append(externalFields, text("ContactID", 10), text("AccountID", 10))...)
	employeeType   = partyType("Employee", readOnly(text("BusinessPartnerID", 10)), text("EmployeeID", 20), text("UserID", 40))
)
