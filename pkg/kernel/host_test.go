package kernel

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
)

// smallKernel is the one that the hosts of these tests run.
func smallKernel() imagetest.Kernel {
	k := imagetest.Flatcar()
	k.Config = "# Linux/x86 6.12.103 Kernel Configuration\nCONFIG_X86_64=y\nCONFIG_MODULES=y\n# CONFIG_MODVERSIONS is not set\n"
	k.CRCs = imagetest.NoCRCs
	k.Exports = []image.Symbol{
		{Name: "_printk"},
		{Name: "crypto_cipher_setkey", Namespace: "CRYPTO_INTERNAL"},
		{Name: "pci_alloc_irq_vectors", GPL: true},
	}
	return k
}

// versionedKernel is the same with modversions.
func versionedKernel() imagetest.Kernel {
	k := smallKernel()
	k.Config = strings.Replace(k.Config, "# CONFIG_MODVERSIONS is not set", "CONFIG_MODVERSIONS=y", 1)
	k.CRCs = imagetest.CRCWords
	for i := range k.Exports {
		k.Exports[i].CRC = uint32(i+1) * 0x01010101
	}
	return k
}

// hostFiles are what every reader of a host that runs k sees. There is nothing
// among them that tells what it exports.
func hostFiles(k imagetest.Kernel) map[string]string {
	return map[string]string{
		"etc/os-release":            "ID=flatcar\nVERSION_ID=4459.2.1\n",
		"proc/version":              k.Banner + "\n",
		"proc/sys/kernel/osrelease": k.Release + "\n",
		"proc/config.gz":            k.Config,
	}
}

// Where a host of smallKernel has what.
const (
	smallModules = "lib/modules/6.12.103-flatcar/"
	smallSymvers = smallModules + "build/Module.symvers"
	smallDrivers = smallModules + "kernel/drivers/"
)

// openFiles makes a host root of files.
func openFiles(t *testing.T, files map[string]string) *Root {
	t.Helper()
	root, err := OpenRoot(testkit.WriteTree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func mustDetect(t *testing.T, root *Root, o DetectOptions) Target {
	t.Helper()
	target, err := Detect(t.Context(), root, o)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

// symversText is a Module.symvers of what k exports, and more lines.
func symversText(k imagetest.Kernel, more ...string) string {
	var b strings.Builder
	for _, s := range k.Exports {
		class := "EXPORT_SYMBOL"
		if s.GPL {
			class = "EXPORT_SYMBOL_GPL"
		}
		fmt.Fprintf(&b, "0x%08x\t%s\tvmlinux\t%s\t%s\n", s.CRC, s.Name, class, s.Namespace)
	}
	return b.String() + strings.Join(more, "")
}

// kallsymsText is a /proc/kallsyms of what k exports, with its addresses, and
// more lines.
func kallsymsText(k imagetest.Kernel, more ...string) string {
	lines := map[bool][]string{}
	for _, s := range k.Exports {
		lines[s.GPL] = append(lines[s.GPL], "__ksymtab_"+s.Name)
	}
	var b strings.Builder
	address := uint64(0xffffffff82000000)
	for _, gpl := range []bool{false, true} {
		suffix := map[bool]string{true: "_gpl"}[gpl]
		fmt.Fprintf(&b, "%016x R __start___ksymtab%s\n", address, suffix)
		for _, name := range lines[gpl] {
			fmt.Fprintf(&b, "%016x r %s\n", address, name)
			address += 12
		}
		fmt.Fprintf(&b, "%016x R __stop___ksymtab%s\n", address, suffix)
	}
	return b.String() + strings.Join(more, "")
}

// with adds an export to a kernel, so that one source can be told from another.
func with(k imagetest.Kernel, name string) imagetest.Kernel {
	k.Exports = append(k.Exports[:len(k.Exports):len(k.Exports)], image.Symbol{Name: name, CRC: k.Exports[0].CRC})
	return k
}

// richModule is a module with exports of each kind, as internal/ko tests it.
func richModule(t testing.TB) string { return readString(t, "../../internal/ko/testdata/rich.ko") }

func readString(t testing.TB, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// packed compresses as `make modules_install` and distributions do.
func packed(t testing.TB, data, suffix string) string {
	t.Helper()
	var b bytes.Buffer
	var w io.WriteCloser
	var err error
	switch suffix {
	case "":
		return data
	case ".gz":
		w = gzip.NewWriter(&b)
	case ".xz":
		w, err = xz.WriterConfig{CheckSum: xz.CRC32}.NewWriter(&b)
	case ".zst":
		w, err = zstd.NewWriter(&b)
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.String()
}
