package salescloud

import (
	"maps"
	"net/http"
	"slices"

	"github.com/closeloop/closeloop/services/landscape/internal/odatasim"
)

// Code lists that are checked on write.
const (
	statusList   = "TasksStatusCollection"
	priorityList = "TasksPriorityCodeCollection"
	documentList = "TasksDocumentTypeCollection"
	categoryList = "TasksCategoryCollection"
	textTypeList = "ActivityTextCollectionTypeCodeCollection"
	languageList = "ActivityTextCollectionLanguageCodeCollection"
)

// otherLists are the remaining code-list sets of the metadata (edmx/C4C_TASKS.xml). There is no
// TasksTextCollectionTypeCodeCollection.
var otherLists = []string{
	"ActivityAttachmentFolderCategoryCodeCollection",
	"ActivityAttachmentFolderTypeCodeCollection",
	"TasksBTDReferenceBTDRoleCodeCollection",
	"TasksBTDReferenceTypeCodeCollection",
	"TasksBusinessTransactionDocumentReferenceActivityTypeCodeCollection",
	"TasksDataOriginTypeCodeCollection",
	"TasksDistributionChannelCodeCollection",
	"TasksDivisionCodeCollection",
	"TasksInvolvedPartiesActivityTypeCodeCollection",
	"TasksInvolvedPartiesPartyTypeCodeCollection",
	"TasksInvolvedPartiesRoleCategoryCodeCollection",
	"TasksInvolvedPartiesRoleCodeCollection",
	"TasksTypeCodeCollection",
}

// codeLists gives the tenant's lists: the known values (sap-sales-cloud.md §2), replaced where the settings say so.
func codeLists(tenant map[string][]Code) map[string][]Code {
	textTypes := []Code{{Code: "10002", Description: "Body Text"}}
	zones := []Code{{Code: "UTC", Description: "Coordinated Universal Time"}}
	lists := map[string][]Code{
		statusList: {
			{Code: "1", Description: "Open"}, {Code: "2", Description: "In Process"},
			{Code: "3", Description: "Completed"}, {Code: "4", Description: "Canceled"},
		},
		priorityList: {
			{Code: "1", Description: "Immediate"}, {Code: "2", Description: "Urgent"},
			{Code: "3", Description: "Normal"}, {Code: "7", Description: "Low"},
		},
		documentList:                             {{Code: "0006", Description: "Activity Task"}},
		categoryList:                             nil,
		textTypeList:                             textTypes,
		"TasksTextCollectionTypeCode1Collection": textTypes,
		"TasksStartDatetimeZoneCodeCollection":   zones,
		"TasksDueDatetimeZoneCodeCollection":     zones,
		languageList: {
			{Code: "DE", Description: "German"}, {Code: "EN", Description: "English"}, {Code: "ES", Description: "Spanish"},
			{Code: "FR", Description: "French"}, {Code: "IT", Description: "Italian"}, {Code: "JA", Description: "Japanese"},
			{Code: "NL", Description: "Dutch"}, {Code: "PT", Description: "Portuguese"}, {Code: "ZH", Description: "Chinese"},
		},
	}
	for _, name := range otherLists {
		lists[name] = nil
	}
	maps.Copy(lists, tenant)
	return lists
}

var codeListType = &odatasim.EntityType{Name: "CodeList", Properties: []odatasim.Property{
	{Name: "Code", Type: odatasim.String, Key: true, ReadOnly: true, NotFilterable: true},
	{Name: "Description", Type: odatasim.String, ReadOnly: true, NotFilterable: true},
}}

var contextualCodeListType = &odatasim.EntityType{Name: "ContextualCodeList", Properties: []odatasim.Property{
	{Name: "Context", Type: odatasim.String, Key: true, ReadOnly: true},
	{Name: "Code", Type: odatasim.String, Key: true, ReadOnly: true},
	{Name: "Description", Type: odatasim.String, ReadOnly: true},
}}

func (s *Simulator) codeListSets() []*odatasim.Set {
	var sets []*odatasim.Set
	for _, name := range slices.Sorted(maps.Keys(s.codes)) {
		var rows []odatasim.Row
		for _, c := range s.codes[name] {
			rows = append(rows, odatasim.Row{Values: map[string]string{"Context": c.Context, "Code": c.Code, "Description": c.Description}})
		}
		entity := codeListType
		if name == categoryList {
			entity = contextualCodeListType
		}
		sets = append(sets, &odatasim.Set{Name: name, Type: entity, List: func(*odatasim.Filter) []odatasim.Row { return rows }})
	}
	return sets
}

// taskCodes and textCodes name the list of each code field; its text goes to the field of the same name with Text.
var (
	taskCodes = map[string]string{
		"Status":                  statusList,
		"PriorityCode":            priorityList,
		"DocumentType":            documentList,
		"Category":                categoryList,
		"StartDatetimeZoneCode":   "TasksStartDatetimeZoneCodeCollection",
		"DueDatetimeZoneCode":     "TasksDueDatetimeZoneCodeCollection",
		"DistributionChannelCode": "TasksDistributionChannelCodeCollection",
		"DivisionCode":            "TasksDivisionCodeCollection",
		"DataOriginTypeCode":      "TasksDataOriginTypeCodeCollection",
	}
	textCodes = map[string]string{"TypeCode": textTypeList, "LanguageCode": languageList}
)

// describeCodes checks the code fields of a row against their lists and writes their texts.
func (s *Simulator) describeCodes(values map[string]string, fields map[string]string) error {
	for _, field := range slices.Sorted(maps.Keys(fields)) {
		list := s.codes[fields[field]]
		at := slices.IndexFunc(list, func(c Code) bool { return c.Code == values[field] })
		switch {
		case values[field] == "":
			delete(values, field+"Text")
		case at >= 0:
			values[field+"Text"] = list[at].Description
		case len(list) > 0:
			return odatasim.Refuse(http.StatusBadRequest, odatasim.CodeBadValue, "Value of property %s is not in code list %s", field, fields[field])
		}
	}
	return nil
}
