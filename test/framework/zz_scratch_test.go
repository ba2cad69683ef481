package framework
import ("testing";"context";"os")
func TestScratch(t *testing.T){ if os.Getenv("SCRATCH")=="" {t.Skip()}
 e,err:=Open(os.Getenv("STATE_DIR")); if err!=nil{t.Fatal(err)}
 tar,err:=e.BuildImage(context.Background(),"synctarget.local/probe:1","/tmp/probe/probe"); if err!=nil{t.Fatal(err)}
 if err:=e.Import(context.Background(),tar); err!=nil{t.Fatal(err)}
 t.Log(tar)
}
