package policy

import "strings"

// The code lists of reference fse.md, 2, 4.3 and 5.3: start values, incomplete by nature. Class, P-codes and LOINC codes are
// matched whatever their system is spelled like, since sources rewrite it; a category only with its system, because a
// local GE may be geriatrics. Displays are never looked at.

// words makes a set of the words of a text.
func words(text string) map[string]bool {
	set := map[string]bool{}
	for word := range strings.FieldsSeq(text) {
		set[word] = true
	}
	return set
}

// referti are the LOINC types that are announced where the class is missing.
var referti = words("11502-2 68604-8 11526-1 11488-4 75496-0 85208-7")

var (
	summary = words("60591-5") // patient summary: never a referto, whatever its class
	referto = words("REF")     // the class of referti

	veryRestricted = words("V")
	restrictedOnly = words("R")
)

var (
	// hidden: the citizen's portal shows nothing, or a doctor speaks first.
	hiddenAccess = words("P98")
	hiddenLabels = words("T D TBOO NOPAT")
	// sensitive are ActCode and old confidentiality codes of information with special protection.
	sensitive = words("HIV PSY ETH SDV S GDIS MH BH PSYTHPN SUD OPIOIDUD STD SEX PREGNANT VIO MST SCA SPI EMOTDIS DVD COGN ADOL")
	// graded are the codes of v3-Confidentiality: any of them says that the document is labelled.
	graded = words("U L M N R V T D HIV PSY ETH SDV S B I C")
)

var (
	confidentialitySystems = words(`http://terminology.hl7.org/CodeSystem/v3-Confidentiality http://hl7.org/fhir/v3/Confidentiality
		urn:oid:2.16.840.1.113883.5.25`)
	sectionSystems = words("http://terminology.hl7.org/CodeSystem/v2-0074 http://hl7.org/fhir/v2/0074 urn:oid:2.16.840.1.113883.12.74")
)

var (
	geneticCategories = words("GE CG")
	geneticCodes      = words("51969-4 81247-9 69548-6 29770-5 55232-3 53041-0 33773-3")
	hivCodes          = words(`7917-8 7918-6 7919-4 5220-9 5221-7 5222-5 5223-3 5224-1 5225-8 9660-2 9661-0 9662-8 9663-6 9664-4
		9665-1 9666-9 9667-7 9668-5 9669-3 9821-0 43009-0 43010-8 43011-6 43012-4 43013-2 43185-8 43599-0 44531-2 44532-0 44533-8
		44607-0 44872-0 44873-8 45212-8 47029-4 48345-3 48346-1 49483-1 49580-4 49718-0 49905-3 51786-2 53379-4 53601-1 54086-4
		56888-1 57974-8 57975-5 57976-3 57977-1 57978-9 58900-2 62456-9 68961-2 69668-2 73905-2 73906-0 75622-1 75666-8 77685-6
		80203-3 80387-4 81641-3 83101-6 85037-0 85686-4 86233-4 86657-4 89365-1 89374-3 20447-9 25836-8 10351-5 21008-8 21333-0
		23876-6 29539-4 25842-6 5018-7 104762-0 104781-0 29893-5 30361-0 31201-7 22356-0 30245-1 25835-0 70241-5`)
)
