package main

import (
	"bytes"
	"debug/buildinfo"
	"net/url"

	"github.com/CycloneDX/cyclonedx-go"
)

// developed is the version that Go gives a module which it takes from the checkout.
const developed = "(devel)"

// billOf lists what a program is made of, as the linker wrote it into the file: Go itself and each module with its version
// and checksum, as CycloneDX 1.6. It has no date and no serial number, so that the same program has the same bill.
func billOf(binary, name, version string) ([]byte, error) {
	info, err := buildinfo.ReadFile(binary)
	if err != nil {
		return nil, err
	}
	bom := cyclonedx.NewBOM()
	bom.Metadata = &cyclonedx.Metadata{Component: &cyclonedx.Component{
		BOMRef: name, Type: cyclonedx.ComponentTypeApplication, Name: name, Version: version,
	}}
	components := []cyclonedx.Component{component("stdlib", info.GoVersion[len("go"):])}
	for _, module := range info.Deps {
		if module.Replace != nil && module.Replace.Version != "" {
			module = module.Replace
		}
		if module.Version == developed { // a module of this checkout
			module.Version = version
		}
		components = append(components, component(module.Path, module.Version))
	}
	bom.Components = &components
	var text bytes.Buffer
	encoder := cyclonedx.NewBOMEncoder(&text, cyclonedx.BOMFileFormatJSON)
	encoder.SetPretty(true)
	err = encoder.EncodeVersion(bom, cyclonedx.SpecVersion1_6)
	return text.Bytes(), err
}

func component(path, version string) cyclonedx.Component {
	purl := "pkg:golang/" + path
	if version != "" {
		purl += "@" + url.PathEscape(version)
	}
	return cyclonedx.Component{
		BOMRef: purl, Type: cyclonedx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: purl,
	}
}
