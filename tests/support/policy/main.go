// SPDX-License-Identifier: Apache-2.0

// policy POLICY < POD: what the API server's own code makes of a pod by the MutatingAdmissionPolicy in the file POLICY, as JSON.
// Nothing on standard output when the policy's conditions leave the pod alone.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"

	"k8s.io/api/admissionregistration/v1beta1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	"k8s.io/apiserver/pkg/admission/plugin/webhook/matchconditions"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/client-go/applyconfigurations"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/yaml"
)

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func main() {
	text, err := os.ReadFile(os.Args[1])
	must(err)
	policy := &v1beta1.MutatingAdmissionPolicy{}
	must(yaml.UnmarshalStrict(text, policy))
	input, err := io.ReadAll(os.Stdin)
	must(err)
	pod := &corev1.Pod{}
	must(yaml.UnmarshalStrict(input, pod))

	ctx := context.Background()
	kind := corev1.SchemeGroupVersion.WithKind("Pod")
	resource := corev1.SchemeGroupVersion.WithResource("pods")
	types := applyconfigurations.NewTypeConverter(scheme.Scheme)
	interfaces := admission.NewObjectInterfacesFromScheme(scheme.Scheme)
	compiler, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion(), true))
	must(err)
	ctx = compiler.CompositionEnv.CreateContext(ctx)
	options := cel.OptionalVariableDeclarations{StrictCost: true, HasAuthorizer: true}

	attributes := func(object runtime.Object) *admission.VersionedAttributes {
		made := admission.NewAttributesRecord(object, nil, kind, "default", "", resource, "", admission.Create, &metav1.CreateOptions{}, false, nil)
		return &admission.VersionedAttributes{Attributes: made, VersionedKind: kind, VersionedObject: object}
	}

	conditions := []cel.ExpressionAccessor{}
	for i := range policy.Spec.MatchConditions {
		conditions = append(conditions, (*matchconditions.MatchCondition)(&policy.Spec.MatchConditions[i]))
	}
	matched := matchconditions.NewMatcher(compiler.CompileCondition(conditions, options, environment.StoredExpressions), nil, "policy", "validate", policy.Name).
		Match(ctx, attributes(pod), nil, nil)
	must(matched.Error)
	if !matched.Matches {
		return
	}

	options.HasPatchTypes = true
	var object runtime.Object = pod
	for _, mutation := range policy.Spec.Mutations {
		var patcher patch.Patcher
		if mutation.JSONPatch != nil {
			patcher = patch.NewJSONPatcher(compiler.CompileMutatingEvaluator(&patch.JSONPatchCondition{Expression: mutation.JSONPatch.Expression}, options, environment.StoredExpressions))
		} else {
			patcher = patch.NewApplyConfigurationPatcher(compiler.CompileMutatingEvaluator(&patch.ApplyConfigurationCondition{Expression: mutation.ApplyConfiguration.Expression}, options, environment.StoredExpressions))
		}
		object, err = patcher.Patch(ctx, patch.Request{MatchedResource: resource, VersionedAttributes: attributes(object), ObjectInterfaces: interfaces,
			OptionalVariables: cel.OptionalVariableBindings{}, TypeConverter: types}, celconfig.RuntimeCELCostBudget)
		must(err)
	}
	must(json.NewEncoder(os.Stdout).Encode(object))
}
