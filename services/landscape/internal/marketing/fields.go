package marketing

import "github.com/closeloop/closeloop/services/landscape/internal/odatasim"

func text(name string, length int) odatasim.Property {
	return odatasim.Property{Name: name, Type: odatasim.String, MaxLength: length}
}

func typed(name string, edm odatasim.Edm) odatasim.Property {
	return odatasim.Property{Name: name, Type: edm}
}

func decimal(name string, precision, scale int) odatasim.Property {
	return odatasim.Property{Name: name, Type: odatasim.Decimal, Precision: precision, Scale: scale}
}

func readOnly(p odatasim.Property) odatasim.Property {
	p.ReadOnly = true
	return p
}

// unsearchable marks a property that can be neither filtered nor sorted (NF and NS in the contract).
func unsearchable(p odatasim.Property) odatasim.Property {
	p.NotFilterable, p.NotSortable = true, true
	return p
}

// interactionType is the entity type of sap-marketing-cloud.md §2.2.
func interactionType(custom []CustomField) *odatasim.EntityType {
	t := &odatasim.EntityType{Name: "Interaction", Properties: []odatasim.Property{
		{Name: keyField, Type: odatasim.Guid, Key: true},
		text("InteractionContactOrigin", 20),
		text("InteractionContactId", 255),
		text("CommunicationMedium", 20),
		text(typeField, 20),
		typed("InteractionTimeStampUTC", odatasim.DateTimeOffset),
		text(sourceTypeField, 30),
		text(sourceField, 50),
		text("MarketingArea", 40),
		text("CampaignID", 10),
		text("MarketingLocationOrigin", 30),
		text("MarketingLocation", 50),
		text("DigitalAccountType", 10),
		text("DigitalAccount", 40),
		text("MKT_AgreementOrigin", 30),
		text("MKT_AgreementExternalID", 80),
		typed("CampaignContent", odatasim.Int32),
		typed("InteractionWeightingFactor", odatasim.Int16),
		typed("InteractionSentimentValue", odatasim.Int16),
		text("InteractionStatus", 2),
		text("InteractionReason", 40),
		text("InteractionLanguage", 2),
		typed("InteractionIsAnonymous", odatasim.Boolean),
		decimal("InteractionAmount", 31, 14),
		text("InteractionCurrency", 3),
		decimal("InteractionLatitude", 21, 10),
		decimal("InteractionLongitude", 21, 10),
		text("SpatialReferenceSystem", 10),
		text("DeviceType", 60),
		text("InteractionDeviceName", 80),
		typed("PrecedingInteractionUUID", odatasim.Guid),
		text("SourceSystemType", 20),
		text("SourceSystem", 255),
		text("InteractionSourceObjectAddlID", 50),
		text("InteractionSourceObjectStatus", 10),
		unsearchable(text(linkField, 0)),
		typed("InteractionSourceTimeStampUTC", odatasim.DateTimeOffset),
		unsearchable(text("CampaignContentLinkURL", 0)),
		text("CampaignContentLinkName", 255),
		typed("InteractionContactUUID", odatasim.Guid),
		readOnly(typed("InteractionLastChangedDateTime", odatasim.DateTimeOffset)),
		readOnly(text("InteractionLastChangedByUser", 12)),
		text("InteractionContentSubject", 255),
		unsearchable(text("InteractionContent", 0)),
	}}
	for _, f := range custom {
		field := unsearchable(text(f.Name, f.MaxLength))
		field.Extension = true
		t.Properties = append(t.Properties, field)
	}
	for _, c := range childTypes {
		t.Navigations = append(t.Navigations, odatasim.Navigation{Name: c.set, Set: c.set, ParentKey: keyField})
	}
	return t
}

// childType is one of the sets below an interaction. Their navigation has the name of the set.
type childType struct {
	set    string
	entity *odatasim.EntityType
}

// child makes the type of a set below an interaction. What is created there can never be changed.
func child(set, entity, key string, properties ...odatasim.Property) childType {
	for i := range properties {
		properties[i].CreateOnly = !properties[i].ReadOnly
	}
	own := odatasim.Property{Name: key, Type: odatasim.Guid, Key: true, ReadOnly: true}
	parent := odatasim.Property{Name: keyField, Type: odatasim.Guid, CreateOnly: true}
	return childType{set, &odatasim.EntityType{Name: entity, Properties: append([]odatasim.Property{own, parent}, properties...)}}
}

// childTypes are the children of sap-marketing-cloud.md §2.2.
var childTypes = []childType{
	child("InteractionProducts", "InteractionProduct", "InteractionProductUUID",
		readOnly(typed("ProductUUID", odatasim.Guid)),
		text("ProductOrigin", 30),
		text("Product", 50),
		typed("InteractionProdWeightingFactor", odatasim.Int16),
		typed("InteractionProductSentimentVal", odatasim.Int16),
		decimal("InteractionProductAmount", 31, 2),
		decimal("InteractionProductQuantity", 23, 5),
		text("InteractionProductUnit", 3),
		text("ProductRecommendationModelType", 30),
		text("InteractionProductStatus", 2),
		text("InteractionProductReason", 20)),
	child("InteractionProductCategories", "InteractionProductCategory", "InteractionProductCategoryUUID",
		readOnly(typed("ProductCategoryUUID", odatasim.Guid)),
		text("ProductCategoryHierarchy", 50),
		text("ProductCategory", 50),
		typed("IntactnProdCatWeightingFctr", odatasim.Int16),
		typed("InteractionProdCatSentimentVal", odatasim.Int16)),
	child("InteractionInterests", "InteractionInterest", "InteractionInterestUUID",
		text("ItemOfInterest", 40),
		typed("InteractionIntrstWeightingFctr", odatasim.Int16),
		typed("InteractionIntrstSentimentVal", odatasim.Int16)),
	child("InteractionDigitalAssets", "InteractionDigitalAsset", "InteractionDigitalAssetUUID",
		text("SourceSystem", 255),
		text("DigitalAsset", 50),
		text("DigitalAssetName", 120),
		text("DigitalAssetMimeType", 256),
		unsearchable(text("DigitalAssetURL", 1333)),
		text("CampaignID", 10),
		typed("IntactnDgtlAssetWeightingFctr", odatasim.Int16),
		typed("IntactnDgtlAssetSentimentVal", odatasim.Int16)),
	child("InteractionOffers", "InteractionOffer", "InteractionOfferUUID",
		text("ExternalOfferOrigin", 30),
		text("MarketingOffer", 10),
		text("MarketingOfferContent", 5),
		text("OfferRecommendationScenario", 50)),
	child("InteractionAdditionalObjects", "InteractionAdditionalObject", "InteractionAdditionalObjUUID",
		text("MarketingObjectType", 30),
		text("MarketingObject", 50)),
	child("InteractionTags", "InteractionTag", "InteractionTagUUID",
		readOnly(text("TagOrigin", 20)),
		text("TagType", 75),
		text("TagName", 200)),
}
