package policy

import (
	"slices"

	"staffetta/fhir"
)

// The kinds of referti, by LOINC type (reference fse.md, 2) and, for reports whose type is their exam, by category.
var (
	kindsOfTypes = map[string]string{
		"11502-2": "laboratory", "68604-8": "radiology", "11526-1": "pathology", "11488-4": "outpatient", "75496-0": "televisit",
		"85208-7": "teleconsultancy",
	}
	kindsOfSections = map[string]string{
		"LAB": "laboratory", "HM": "laboratory", "CH": "laboratory", "MB": "laboratory", "SR": "laboratory", "IMM": "laboratory",
		"BLB": "laboratory", "RAD": "radiology", "CT": "radiology", "NMR": "radiology", "RUS": "radiology", "RX": "radiology",
		"PAT": "pathology", "SP": "pathology", "CP": "pathology",
	}
)

// KindOf is what a document is, in a fixed word: never its exam. What is not known is a report.
func KindOf(doc fhir.Document) string {
	for _, coding := range slices.Concat(doc.Type, doc.Categories) {
		if kind, known := kindsOfTypes[coding.Code]; known {
			return kind
		}
	}
	for _, coding := range doc.Categories {
		if kind, known := kindsOfSections[coding.Code]; known && sectionSystems[coding.System] {
			return kind
		}
	}
	return "report"
}
