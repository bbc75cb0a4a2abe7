package qualtrics_test

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// BenchmarkWaveOf10000 is one batch, one import of 10,000 rows, its report, one distribution and its 100 pages of links,
// with the books on disk.
func BenchmarkWaveOf10000(b *testing.B) {
	rows := make([]string, 10_000)
	for i := range rows {
		rows[i] = fmt.Sprintf(`{"extRef":"P-%d","email":"p%d@example.org","firstName":"F%d","lastName":"L","language":"EN",`+
			`"embeddedData":{"Country":"DE"},"transactionData":{"requestId":"A%d","n":%d}}`, i, i, i, i, i)
	}
	brand := start(b, nil)
	for b.Loop() {
		batch := brand.batch()
		a := brand.call("POST", imports, `{"transactionMeta":{"batchId":"`+batch+`","fields":["requestId","n"]},"contacts":[`+
			strings.Join(rows, ",")+`]}`).want(202)
		brand.call("GET", imports+"/"+a.text("result", "id"), "").want(200)
		distribution := brand.distribute(service, batch, nil)
		if links, pages := brand.links(distribution, service); len(links) != 10_000 || len(pages) != 100 {
			b.Fatalf("%d links on %d pages", len(links), len(pages))
		}
	}
}

// BenchmarkOneByOne is the five calls for one link, with 10,000 links there already.
func BenchmarkOneByOne(b *testing.B) {
	brand := start(b, nil)
	one := func(i int) {
		id, _ := brand.contact(fmt.Sprintf(`{"extRef":"P-%d"}`, i))
		distribution := brand.distribute(service, brand.batch(brand.transaction(id, nil)), nil)
		if links, _ := brand.links(distribution, service); len(links) != 1 {
			b.Fatalf("%d links", len(links))
		}
	}
	began, n := time.Now(), 0
	for ; n < 10_000; n++ {
		one(n)
	}
	b.Logf("the first 10,000 took %v", time.Since(began).Round(time.Millisecond))
	for b.Loop() {
		one(n)
		n++
	}
}
