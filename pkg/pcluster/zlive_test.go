package pcluster

import (
	"context"
	"fmt"
	"os"
	"testing"
	"time"
	"os/exec"
	"strings"
	"syscall"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"encoding/pem"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestZLive(t *testing.T) {
	caPEM, err := os.ReadFile("/tmp/pc-live/certs/apiserver.crt")
	if err != nil { t.Fatal(err) }
	var ca []byte
	for { var b *pem.Block; b, caPEM = pem.Decode(caPEM); if b == nil { break }; ca = b.Bytes }
	clusters, changes := startClusters(t, nil, nil)
	ctx := context.Background()
	kc := strings.Replace(string(tokenKubeconfig("https://localhost:34443", ca, "livetoken-123")), "server:", "server:", 1)
	cl, err := clusters.Get(ctx, testID("a"), []byte(kc))
	if err != nil { t.Fatal(err) }
	fmt.Println("ID", cl.ID())
	c := cl.Client()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	fmt.Println("create ns", c.Create(ctx, ns))
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "d"}, Spec: appsv1.DeploymentSpec{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}, Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"a": "b"}},
			Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "x", Image: "x"}}}}}}
	fmt.Println("get", c.Get(ctx, client.ObjectKeyFromObject(d), d.DeepCopy()))
	cl.WatchDeployment("n", "d")
	time.Sleep(time.Second)
	fmt.Println("changes before", len(changes))
	if err := c.Create(ctx, d); err != nil { t.Fatal(err) }
	await(t, "created", changes)
	d.Spec.Replicas = ptr.To[int32](3)
	if err := c.Update(ctx, d); err != nil { t.Fatal(err) }
	await(t, "modified", changes)
	bad := d.DeepCopy(); bad.ResourceVersion = "1"; bad.Spec.Replicas = ptr.To[int32](4)
	fmt.Println("conflict:", c.Update(ctx, bad))
	bad = d.DeepCopy(); bad.ResourceVersion = ""; bad.Name = "e"; bad.Spec.Selector.MatchLabels["x"] = "y"
	fmt.Println("invalid:", c.Create(ctx, bad))
	if err := c.Delete(ctx, d); err != nil { t.Fatal(err) }
	await(t, "deleted", changes)
	fmt.Println("not found:", c.Delete(ctx, d))
	_, err = clusters.Get(ctx, testID("weak"), []byte(strings.Replace(kc, "livetoken", "weaktoken", 1)))
	fmt.Println("weak:", err)
	_, err = clusters.Get(ctx, testID("bad"), []byte(strings.Replace(kc, "livetoken", "badtoken", 1)))
	fmt.Println("bad:", err)
	// restart of the API server
	pid, _ := os.ReadFile("/tmp/pc-live/api.pid")
	var p int
	fmt.Sscan(string(pid), &p)
	began := time.Now()
	syscall.Kill(p, syscall.SIGKILL)
	for len(changes) > 0 { <-changes }
	select { case <-changes: case <-time.After(60 * time.Second): t.Fatal("loss not noticed") }
	_, err = clusters.Get(ctx, testID("a"), []byte(kc))
	fmt.Println("lost after", time.Since(began), err)
	if err := exec.Command("bash", "-c", ". /tmp/pc-live/start.sh").Run(); err != nil { t.Fatal(err) }
	for {
		id := <-changes
		_, err = clusters.Get(ctx, id, []byte(kc))
		fmt.Println("change", id.Name, time.Since(began), err)
		if id == testID("a") && err == nil { break }
	}
	cl.WatchDeployment("n", "d")
	time.Sleep(time.Second)
	d.ResourceVersion = ""
	d.UID = ""
	for len(changes) > 0 { <-changes }
	if err := c.Create(ctx, d); err != nil { t.Fatal(err) }
	fmt.Println("created again seen by", await(t, "created", changes))
}
