package isofs

type zisofsEntry struct{}

type sparseEntry struct{}

var (
	tagSF = newTag("SF")
	tagZF = newTag("ZF")
	tagAL = newTag("AL")
)

type Blocks interface{}

func (x *rock) addSparse(data []byte) {}
func (x *rock) addZisofs(data []byte) {}
